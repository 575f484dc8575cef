"""wrk's script, and the figures in what it prints."""

from __future__ import annotations

import pytest

from gateway.errors import EngineFailure
from launch.bench.overhead import wrk


def test_wrk_figures_are_read_from_its_hook() -> None:
    line = 'FIGURES {"requests": 10, "wall_us": 2000000, "p50_us": 5, "p99_us": 9, "max_us": 11, "errors": 0}'
    figures = wrk.read_figures(f"Running 1s test\n{line}\n")
    assert figures.per_s == 5
    assert figures.row()["p50_us"] == 5
    with pytest.raises(EngineFailure, match="unable to connect"):
        wrk.read_figures("unable to connect")


def test_no_answers_means_no_times() -> None:
    figures = wrk.WrkFigures(requests=0, wall_us=1_000_000, p50_us=0, p99_us=0, max_us=0, errors=3)
    assert not {"p50_us", "p99_us", "max_us"} & figures.row().keys()
    assert figures.row()["errors"] == 3


def test_wrk_script_asks_each_model_in_turn() -> None:
    one = wrk.script({"authorization": "Bearer x"})
    assert 'wrk.headers["authorization"] = "Bearer x"' in one
    assert "function request" not in one
    many = wrk.script({}, ["a", "b"])
    assert '{"a", "b"}' in many
    assert "function request" in many
