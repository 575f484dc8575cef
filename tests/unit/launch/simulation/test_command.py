"""`lora-gateway simulate`, the command."""

from __future__ import annotations

import inspect
import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from gateway.errors import ConfigError
from launch.cli.main import build_app
from launch.simulation.command import rate_of, shares, simulate_command
from launch.simulation.engine_speed import CPU_DEMO, GPU_8B
from tests.unit.launch.simulation.replay.results import engine_result, slots_result

SMALL = ("--replicas", "2", "--adapters", "6", "--load", "0.2", "--duration-s", "10")


def run(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(build_app(), ["simulate", *arguments])
    if isinstance(result.exception, ConfigError):
        raise result.exception
    return result.exit_code, result.output


def test_it_prints_a_row_for_each_policy_and_load() -> None:
    code, text = run(*SMALL, "--policy", "lora-gateway,affinity", "--arrivals", "poisson,recorded")
    assert code == 0, text
    assert text.count("lora-gateway") == text.count("affinity") == 2
    assert "recorded, 0.2 of what 2 engines can do" in text


def test_it_prints_json_and_draws(tmp_path: Path) -> None:
    picture = tmp_path / "found.svg"
    code, text = run(*SMALL, "--policy", "lora-gateway", "--json", "--svg", str(picture))
    assert code == 0, text
    found = json.loads(text[text.index("{") :])
    assert found["settings"]["engine"]["seats"] == GPU_8B.seats
    chosen = inspect.signature(simulate_command).parameters.keys()
    elsewhere = {
        "arrivals",
        "load",
        "policy",
        "fit",
        "replay",
        "svg",
        "as_json",
    }  # in rows, or no setting
    assert found["settings"].keys() == chosen - elsewhere
    assert found["rows"][0]["policy"] == "lora-gateway"
    assert picture.read_text().startswith("<svg")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--policy", "best"), "--policy"),
        (("--arrivals", "steady"), "--arrivals"),
        (("--load", "much"), "--load"),
        (("--load", "0"), "--load"),
        (("--load", "nan"), "--load"),
        (("--load", "0.2,inf"), "--load"),
        (("--svg", "/no/such/folder/found.svg"), "--svg"),
        (("--svg", "/proc"), "--svg"),
        (("--engine", "no-such-file"), "--engine"),
    ],
)
def test_what_it_does_not_know_is_said(arguments: tuple[str, str], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        run(*arguments)


def test_too_short_a_time_is_said() -> None:
    assert run("--duration-s", "inf")[0] == 2  # nor has it an end
    with pytest.raises(ConfigError, match=r"--duration-s.*no request came after the warm-up"):
        run("--replicas", "1", "--adapters", "1", "--load", "0.01", "--duration-s", "1")


def test_a_load_of_one_keeps_an_engine_busy() -> None:
    assert rate_of(GPU_8B, "poisson", 500, 150) * GPU_8B.work(500, 150) == pytest.approx(GPU_8B.tokens_per_s)
    assert 0 < rate_of(GPU_8B, "recorded", 1, 1) < rate_of(GPU_8B, "poisson", 500, 150)
    assert shares("0.2, 1") == [0.2, 1.0]


def test_the_command_describes_itself() -> None:
    app = typer.Typer()
    app.command("simulate")(simulate_command)
    assert "simulated time" in CliRunner().invoke(app, ["--help"]).output


def test_what_was_measured_is_fitted_and_simulated_beside_it(tmp_path: Path) -> None:
    file = str(slots_result(tmp_path, "zipf, 4 adapters"))
    code, text = run("--engine", "cpu-demo", "--fit", file, "--replay", file)
    assert code == 0, text
    assert text.count("zipf, 4 adapters") == 2
    assert "fitted to slots.json" in text
    code, text = run("--engine", "cpu-demo", "--replay", file, "--json")
    found = json.loads(text)
    assert found["engine"]["step_s"] == CPU_DEMO.step_s
    assert [row["arm"] for row in found["rows"]] == ["direct", "gateway"]


def test_what_the_engine_bench_wrote_is_not_replayed(tmp_path: Path) -> None:
    file = str(engine_result(tmp_path, {"direct": 50.0, "direct-single": 40.0}))
    with pytest.raises(ConfigError, match="bench slots"):
        run("--replay", file)
    code, text = run(*SMALL, "--fit", file, "--policy", "affinity", "--json")
    assert code == 0, text
    assert json.loads(text[text.index("{") :])["settings"]["engine"]["about"] == "fitted to engine.json"
