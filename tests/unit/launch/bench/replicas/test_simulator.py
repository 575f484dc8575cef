"""One engine and two in turn, and what stands in the results."""

from __future__ import annotations

from typer.testing import CliRunner

from launch.bench.cli import build_bench_app
from launch.bench.replicas.calibration import Calibration
from launch.bench.replicas.simulator import in_order, told


def test_one_and_two_engines_are_first_in_turn() -> None:
    assert in_order((0.3, 0.6), 0) == [(1, 0.3), (2, 0.3), (2, 0.6), (1, 0.6)]
    assert in_order((0.3, 0.6), 1) == [(2, 0.3), (1, 0.3), (1, 0.6), (2, 0.6)]


def test_a_calibration_is_told_in_words() -> None:
    found = told(Calibration({(4, 2): 0.05}, {8: 0.1}, 0.09))
    assert found == {"step_s": {"4 requests, 2 adapters": 0.05}, "first_s": {8: 0.1}, "load_s": 0.09}


def test_command_is_there() -> None:
    assert CliRunner().invoke(build_bench_app(), ["simulator", "--help"]).exit_code == 0
