"""The command that holds the simulator against one engine and two."""

from __future__ import annotations

from pathlib import Path

from typer.testing import CliRunner

from launch.bench.cli import build_bench_app
from tests.unit.launch.bench.replicas.test_fitting import seen
from tests.unit.launch.bench.replicas.test_recorded_run import written


def test_command_is_there() -> None:
    assert CliRunner().invoke(build_bench_app(), ["simulator", "--help"]).exit_code == 0


def test_a_result_is_played_again_without_engines(tmp_path: Path) -> None:
    result = written(tmp_path / "result.json", seen())
    ran = CliRunner().invoke(build_bench_app(), ["simulator", "--again", str(result)])
    assert ran.exit_code == 0, ran.output
    assert ran.output.startswith("| engines | load |")
