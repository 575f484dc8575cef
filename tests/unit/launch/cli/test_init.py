"""`lora-gateway init` writes what `check` accepts, from headers at hand, and overwrites nothing unasked."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from gateway.config.document import Config, load_config
from gateway.errors import ConfigError
from launch.cli import main as cli
from launch.cli.init import write_config
from launch.planning.check import check
from launch.planning.device_memory import DeviceMemory
from launch.planning.findings import errors
from launch.planning.found_config import OWN
from tests.support.adapter_folders import LAYOUT, Q, Shapes, adapter, weights

MODEL = {**LAYOUT, "vocab_size": 48, "max_position_embeddings": 512}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's folder, with a base beside it."""
    base = tmp_path / "models" / "tiny"
    base.mkdir(parents=True)
    (base / "config.json").write_text(json.dumps(MODEL))
    (base / "model.safetensors").write_bytes(weights({"model.norm.weight": (16,)}))
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    return work


def wide(rank: int) -> Shapes:
    return {f"{Q}.lora_A.weight": (rank, 16), f"{Q}.lora_B.weight": (16, rank)}


def trained(folder: Path, rank: int = 8, on: str | None = None) -> Path:
    name = str(folder.parents[1] / "models" / "tiny") if on is None else on
    return adapter(folder, wide(rank), {"r": rank, "base_model_name_or_path": name})


def test_configuration_comes_from_the_headers_and_is_accepted(folder: Path) -> None:
    trained(folder / "naming")
    trained(folder / "concept", 24)
    write_config(None, ["naming=./naming", f"concept={folder / 'concept'}"], OWN)
    config = load_config(OWN)
    assert config.base.model == str(folder.parent / "models" / "tiny")
    assert (config.base.max_lora_rank, config.base.max_loras) == (32, 2)
    assert {name: task.adapter for name, task in config.tasks.items()} == {
        "naming": folder / "naming",
        "concept": folder / "concept",
    }
    assert yaml.safe_load(OWN.read_text())["tasks"]["concept"]["adapter"] == "./concept"
    report = check(OWN, device=DeviceMemory(False, "main memory", 32 * 10**9, 30 * 10**9, "a test"))
    assert [str(found) for found in errors(report.findings) if found.key.startswith(("base", "tasks"))] == []
    assert [one.task for one in report.adapters] == ["naming", "concept"]


def test_base_alone_will_do(folder: Path) -> None:
    write_config("../models/tiny", [], Path("conf/mine.yaml"))
    config = load_config(Path("conf/mine.yaml"))
    assert (config.base.model, config.tasks) == (str(folder.parent / "models" / "tiny"), {})


@pytest.mark.parametrize("name", ["my adapter", "naïve # one: {x}", "名前", "1e3", "true", "quote'\"s"])
def test_folders_of_any_name_are_written_so_that_yaml_reads_them(folder: Path, name: str) -> None:
    trained(folder / name)
    write_config(None, [f"null={folder / name}"], OWN)
    assert load_config(OWN).tasks["null"].adapter == folder / name


def test_longer_context_than_is_planned_for_unasked_is_said(folder: Path) -> None:
    long = {**MODEL, "max_position_embeddings": 131_072}
    (folder.parent / "models" / "tiny" / "config.json").write_text(json.dumps(long))
    write_config("../models/tiny", [], OWN)
    assert load_config(OWN).base.max_model_len == 8192
    assert "the base bears 131072" in OWN.read_text()


@pytest.mark.parametrize(
    ("named", "model"),
    [
        ("owner/model-7b", "owner/model-7b"),
        ("/home/me/.cache/huggingface/hub/models--owner--model-7b/snapshots/ab12", "owner/model-7b"),
        ("SmolLM2-135M-Instruct", "demo:smollm2-135m-instruct"),
    ],
)
def test_base_is_what_stands_behind_the_adapters_path(
    folder: Path, named: str, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(model: str) -> object:
        raise ConfigError("base.model", model, "is not here")

    monkeypatch.setattr("launch.cli.init.find_base", away)
    trained(folder / "naming", on=named)
    write_config(None, ["naming=naming"], OWN)
    assert load_config(OWN).base.model == model


def mixed(folder: Path) -> None:
    trained(folder / "one", on="owner/first")
    trained(folder / "two", on="owner/second")


def unnamed(folder: Path) -> None:
    trained(folder / "one", on="")


def elsewhere(folder: Path) -> None:
    trained(folder / "one", on=r"D:\models\some")


def narrow(folder: Path) -> None:
    adapter(folder / "one", {f"{Q}.lora_A.weight": (8, 12), f"{Q}.lora_B.weight": (12, 8)})


def written(folder: Path) -> None:
    trained(folder / "one")
    OWN.write_text("mine")


@pytest.mark.parametrize(
    ("prepare", "arguments", "said"),
    [
        (written, {"adapters": ["one=one"]}, "is there already; --force overwrites it"),
        (
            mixed,
            {"adapters": ["one=one", "two=two"]},
            "two=.*: was trained on owner/second, one on owner/first",
        ),
        (unnamed, {"adapters": ["one=one"]}, "--base: is needed: no adapter says what it was trained on"),
        (
            elsewhere,
            {"adapters": ["one=one"]},
            "is what the adapter was trained on, and is not here; name it",
        ),
        (
            narrow,
            {"adapters": ["one=one"], "base": "../models/tiny"},
            "--adapter one: .* 8 x 12, the base needs",
        ),
        (unnamed, {"adapters": ["one=none"]}, "--adapter one: .*none: no such folder"),
        (unnamed, {"adapters": ["one=hf://a/b"]}, "lora-gateway adapters add one hf://a/b"),
        (unnamed, {"adapters": ["one=one"], "base": "./none"}, "--base: ./none: no such folder"),
        (unnamed, {"adapters": [], "base": "demo:other"}, "--base: demo:other: the only demo base is demo:"),
        (unnamed, {"adapters": ["one"]}, "write NAME=FOLDER"),
        (unnamed, {"adapters": ["a b=one"]}, "write NAME=FOLDER"),
        (unnamed, {"adapters": ["one=one", "one=two"]}, "a name is given twice"),
        (unnamed, {"adapters": ["one=${HOME}"]}, "has \\$\\{…\\} in its path"),
        (unnamed, {"adapters": []}, "name a base .* or adapters"),
    ],
)
def test_what_cannot_be_written_is_one_line_with_the_mend(
    folder: Path, prepare: Callable[[Path], None], arguments: dict[str, object], said: str
) -> None:
    prepare(folder)
    before = OWN.read_text() if OWN.exists() else None
    with pytest.raises(ConfigError, match=said):
        write_config(arguments.get("base"), arguments["adapters"], OWN)  # type: ignore[arg-type]  # a table's
    assert (OWN.read_text() if OWN.exists() else None) == before


def test_a_link_stays_and_what_it_leads_to_is_written(folder: Path) -> None:
    trained(folder / "naming")
    OWN.symlink_to("there/shared.yaml")
    for force in (False, True):
        write_config(None, ["naming=./naming"], OWN, force=force)
        assert (OWN.is_symlink(), (folder / "there" / "shared.yaml").is_file()) == (True, True)
    assert load_config(OWN).tasks["naming"].adapter == folder / "naming"


def test_force_overwrites(folder: Path) -> None:
    written(folder)
    write_config(None, ["one=one"], OWN, force=True)
    assert list(load_config(OWN).tasks) == ["one"]


def test_command_says_what_comes_next_and_up_says_how_to_get_one(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for command in ("up", "check", "serve"):
        with pytest.raises(SystemExit) as caught:
            cli.main([command])
        assert caught.value.code == 2
        captured = capsys.readouterr()
        assert (
            "lora-gateway.yaml: cannot be read: no such file; lora-gateway init writes one"
            in captured.err + captured.out
        )
    trained(folder / "naming")
    done = CliRunner().invoke(cli.build_app(), ["init", "--adapter", "naming=naming", "--out", "c.yaml"])
    assert done.exit_code == 0
    assert "lora-gateway up --config c.yaml" in done.stdout
    assert isinstance(load_config(Path("c.yaml")), Config)
