"""The recovery bench's sums, apart from any stack."""

from __future__ import annotations

import os
import time

import pytest

from gateway.errors import EngineFailure
from launch.bench.faults.recovery import line_of, summary
from launch.bench.faults.recovery_kills import (
    Recovery,
    TimedRequest,
    Victim,
    is_alive,
    longest_gap,
    started_at,
)


def recovery(victim: Victim, outage_s: float, gone_s: float | None = None) -> Recovery:
    return Recovery(victim, outage_s, outage_s, outage_s, gone_s, {"502": 2}, 1, [], True)


def test_outage_is_the_longest_time_without_a_good_answer_that_ends_after_the_kill() -> None:
    good = [1.0, 4.0, 5.0, 7.5, 8.0]  # the longest of all is over before the kill
    requests = [TimedRequest(at - 0.1, at, 200) for at in good]
    requests += [TimedRequest(5.5, 6.0, 502), TimedRequest(5.6, 6.1, 0)]
    assert longest_gap(requests, 5.2) == (5.0, 7.5)
    with pytest.raises(EngineFailure):
        longest_gap(requests, 9.0)


def test_summary_has_medians_by_what_was_killed() -> None:
    found = summary(
        [recovery("engine", outage, 0.5) for outage in (1.0, 9.0, 2.0)] + [recovery("gateway", 3.0)]
    )
    assert list(found) == ["engine", "gateway"]
    engine = found["engine"]
    assert (engine["outage_s"], engine["worst_outage_s"], engine["old_engine_gone_s"]) == (2.0, 9.0, 0.5)
    assert (engine["failed"], engine["waited"], engine["undisturbed"]) == (6, 3, True)
    assert found["gateway"]["old_engine_gone_s"] is None
    assert line_of(recovery("engine", 1.0)).endswith("failed: 2 x 502, waited: 1")


def test_a_process_and_its_start_are_known() -> None:
    assert is_alive(os.getpid())
    assert not is_alive(2**22 + 1)
    assert 0 < time.monotonic() - started_at(os.getpid()) < 36_000
