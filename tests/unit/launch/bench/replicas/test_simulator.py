"""What stands in the results of one engine and two."""

from __future__ import annotations

from typer.testing import CliRunner

from launch.bench.cli import build_bench_app
from launch.bench.replicas.calibration import Calibration
from launch.bench.replicas.simulator import told


def test_a_calibration_is_told_in_words() -> None:
    found = told(Calibration({(4, 2): 0.05}, {8: 0.1}, 0.09))
    assert found == {"step_s": {"4 requests, 2 adapters": 0.05}, "first_s": {8: 0.1}, "load_s": 0.09}


def test_command_is_there() -> None:
    assert CliRunner().invoke(build_bench_app(), ["simulator", "--help"]).exit_code == 0
