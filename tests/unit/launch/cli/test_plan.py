"""`lora-gateway plan`, the command."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from gateway.errors import ConfigError
from launch.cli.main import build_app
from tests.support.adapter_folders import adapter
from tests.unit.launch.base.test_lookup import small_model
from tests.unit.launch.planning.test_plan import QWEN

ROOT = Path(__file__).parents[4]


def run(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(build_app(), ["plan", *arguments])
    return result.exit_code, result.output


def test_command_needs_no_file_of_the_model_nor_of_its_adapters(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    for name in ("CONCEPT", "NAMING", "RELATIONSHIP", "ATTRIBUTE"):
        monkeypatch.delenv(f"{name}_ADAPTER_PATH", raising=False)
    code, text = run("-c", "configs/qwen2.5-14b.yaml", "--gpu-memory", "48GB")
    assert code == 0, text
    for expected in ("29.54", "35.64", "0.75 x 47.52 GiB", "not the weights alone", "relationship", "3.3"):
        assert re.search(expected.replace(" ", r"\s[\s│]*"), text), expected


def test_command_prints_json_and_fails_where_it_does_not_fit() -> None:
    code, text = run("--base", QWEN, "--gpu-memory", "24GB", "--max-model-len", "4096", "--json")
    assert code == 2
    found = json.loads(text)
    assert found["rows"][0]["size_bytes"] == 2 * found["parameters"]
    assert found["findings"][0]["level"] == "error"


def test_command_reads_an_adapter_that_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = small_model(tmp_path / "m")
    side: dict[str, tuple[int, ...]] = {
        "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight": (8, 128)
    }
    side["base_model.model.model.layers.0.self_attn.q_proj.lora_B.weight"] = (128, 8)
    adapter(tmp_path / "a", side)
    file = tmp_path / "c.yaml"
    file.write_text(
        f"base: {{model: {model}}}\ntasks: {{one: {{adapter: {tmp_path}/a}}, two: {{adapter: none}}}}\n"
    )
    code, text = run("-c", str(file), "--gpu-memory", "1GB", "--json", "--max-model-len", "1024")
    one, two = json.loads(text)["adapters"]
    assert (one["rank"], one["known"]) == (8, "header")
    assert (two["rank"], two["known"]) == (16, "allowance")
    assert code in (0, 2)


def test_command_refuses_an_impossible_option() -> None:
    result = CliRunner().invoke(build_app(), ["plan", "--base", QWEN, "--gpu-memory-utilization", "7"])
    assert isinstance(result.exception, ConfigError)
    assert "--gpu-memory-utilization" in str(result.exception)


def test_no_base_at_all_is_said() -> None:
    result = CliRunner().invoke(build_app(), ["plan", "--base", ""])
    assert str(result.exception).startswith("--base: String should have at least 1")
    assert isinstance(result.exception, ConfigError)
