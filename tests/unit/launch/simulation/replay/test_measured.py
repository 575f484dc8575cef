"""What is read of a bench's result, and which file is none."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.errors import ConfigError
from launch.simulation.replay.measured import EngineResult, SlotsResult, read_result, visits_of
from tests.unit.launch.simulation.replay.results import engine_result, slots_result


def test_cells_and_arms_are_read_with_what_was_seen(tmp_path: Path) -> None:
    file = slots_result(tmp_path, "zipf, 8 adapters", "own, 3 adapters", engines=2)
    found = read_result("--replay", str(file))
    assert isinstance(found, SlotsResult)
    assert found.settings.engines == 2
    visits = visits_of(found)
    assert [(one.law, one.adapters, one.arm) for one in visits] == [
        ("zipf", 8, "direct"),
        ("zipf", 8, "gateway"),
        ("own", 3, "direct"),
        ("own", 3, "gateway"),
    ]
    assert visits[0].seen == {"requests_per_s": 3.0, "first_token_p50_s": 0.5, "first_token_p99_s": 4.0}


def test_a_result_of_the_engine_is_told_by_what_it_is(tmp_path: Path) -> None:
    file = engine_result(tmp_path, {"direct": 50.0, "direct-single": 40.0})
    assert isinstance(read_result("--fit", str(file)), EngineResult)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "cannot be read"),
        ('{"what": "churn"}', "bench engine"),
        ("[]", "does not fit"),
        ('{"what": "slots", "settings": {}}', "does not fit"),
    ],
)
def test_another_file_is_refused(tmp_path: Path, text: str | None, said: str) -> None:
    file = tmp_path / "other.json"
    if text is not None:
        file.write_text(text)
    with pytest.raises(ConfigError, match=said):
        read_result("--fit", str(file))


def test_a_cell_without_a_law_is_refused(tmp_path: Path) -> None:
    found = read_result("--replay", str(slots_result(tmp_path, "many adapters")))
    assert isinstance(found, SlotsResult)
    with pytest.raises(ConfigError, match="must be a law"):
        visits_of(found)
