"""What stands in a result is what was measured, and is played again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gateway.errors import ConfigError
from launch.bench.replicas.calibration import Calibration
from launch.bench.replicas.open_run import SimulatorPlan, TwinVisit, asked
from launch.bench.replicas.recorded_run import calibration_of, read_recorded, told
from launch.bench.replicas.simulator import ALONE_SAID, BESIDE_SAID, played_again, twins_of
from launch.bench.replicas.twin import report
from tests.unit.launch.bench.replicas.test_fitting import seen
from tests.unit.launch.simulation.test_engine_speed import speed

PLAN = SimulatorPlan(adapters=3, loads=(0.6,), window_s=1.0, warm_up_s=0.0)


def written(path: Path, calibration: Calibration) -> Path:
    requests = asked(PLAN, 20.0, "0")
    visits = [TwinVisit(0, engines, 0.6, requests, [0.05] * len(requests), 4.0) for engines in (1, 2)]
    settings = {"adapters": 3, "loads": [0.6], "window_s": 1.0, "warm_up_s": 0.0, "slo_s": 1.0}
    document = {
        "settings": {**settings, "least_residency_s": 0.5},
        "calibration": {ALONE_SAID: told(calibration), BESIDE_SAID: told(calibration)},
        "rounds": twins_of(visits, PLAN, speed(slots=4, seats=16), 0.5),
    }
    path.write_text(json.dumps(document))
    return path


def test_what_was_told_is_what_was_seen(tmp_path: Path) -> None:
    found = read_recorded(written(tmp_path / "result.json", seen()))
    assert calibration_of(found.calibration[ALONE_SAID]) == seen()
    assert (found.plan, found.settings.least_residency_s) == (PLAN, 0.5)
    assert [(one.engines, one.loads, set(one.first_s)) for one in found.visits] == [
        (1, 4.0, {0.05}),
        (2, 4.0, {0.05}),
    ]
    drawn = asked(PLAN, 20.0, "0")
    kept = [(one.at_s, one.adapter, one.output_tokens) for one in found.visits[0].requests]
    assert kept == [(one.at_s, one.adapter, one.output_tokens) for one in drawn]


def test_it_is_played_again_by_what_its_calibration_says(tmp_path: Path) -> None:
    quick = played_again(written(tmp_path / "quick.json", seen()))
    slow = played_again(written(tmp_path / "slow.json", seen(3.0)))
    assert len(report(quick).splitlines()) == len(report([]).splitlines()) + 2
    assert quick != slow


def test_what_is_no_such_result_is_refused(tmp_path: Path) -> None:
    other = tmp_path / "other.json"
    other.write_text('{"what": "slots"}')
    with pytest.raises(ConfigError, match="is no result"):
        read_recorded(other)
    with pytest.raises(ConfigError, match="cannot be read"):
        read_recorded(tmp_path / "none.json")
