"""Options that several commands share: which configuration is meant, and where its state is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from gateway.errors import ConfigError
from launch.cli.options import DEMO_CONFIG, ConfigOption, state_folder
from launch.supervisor.control_client import ControlClient
from tests.unit.launch.conftest import run_cli


def test_configuration_that_is_named_counts_and_else_the_folders_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = typer.Typer()

    @app.command()
    def shown(config: ConfigOption = DEMO_CONFIG) -> None:
        typer.echo(config)

    monkeypatch.chdir(tmp_path)
    (tmp_path / "lora-gateway.yaml").touch()
    assert CliRunner().invoke(app, []).output.strip() == "lora-gateway.yaml"
    assert CliRunner().invoke(app, ["-c", str(DEMO_CONFIG)]).output.strip() == str(DEMO_CONFIG)


@pytest.mark.parametrize(
    "words",
    [
        "adapters list",
        "adapters show a",
        "adapters promote a",
        "adapters remove a",
        "tasks list",
        "tasks diff",
        "tasks reset a",
        "reload",
        "placement",
        "keys list",
        "keys show a",
        "keys limit a",
        "keys create a",
    ],
)
def test_a_document_of_another_release_is_printed_though_no_line_can_be_made_of_it(
    words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    unlike = {"changes": [], "versions": "two", "tasks": {"a": {"versions": "two"}}}
    monkeypatch.setattr(ControlClient, "ask", lambda *_: unlike)
    said = run_cli(capsys, *words.split(), "--state-dir", str(tmp_path), "--json")
    assert (said.code, said.document.items() >= unlike.items()) == (0, True), said.err


def test_state_of_a_broken_configuration_is_found_where_its_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("broken: [")
    assert state_folder(tmp_path / "c.yaml", tmp_path / "state") == tmp_path / "state"
    with pytest.raises(ConfigError):
        state_folder(tmp_path / "c.yaml", None)
    kept = {"base": {"model": "some/model"}, "state_dir": str(tmp_path / "kept")}
    (tmp_path / "c.yaml").write_text(json.dumps(kept))
    assert state_folder(tmp_path / "c.yaml", None) == tmp_path / "kept"
