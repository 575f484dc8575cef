"""Requests around replacements: in which phase they were, and whose answers were stale."""

from __future__ import annotations

import pytest

from launch.bench.faults.churn_load import ChurnRequest
from launch.bench.replicas.replacement_figures import Replacement, figures_of, is_stale, phase_of

DONE = [Replacement("red", "red@2", 10.0, 11.0), Replacement("red", "red@3", 20.0, 22.0)]


def seen(
    began_s: float, ended_s: float, adapter_id: str = "red@3", status: str = "200", verdict: str = "own"
) -> ChurnRequest:
    task = adapter_id.partition("@")[0] or "red"
    return ChurnRequest(began_s, ended_s, task, status, verdict if status == "200" else "", adapter_id)


@pytest.mark.parametrize(
    ("began_s", "ended_s", "phase"),
    [
        (9.0, 9.9, "before"),
        (9.9, 10.1, "meanwhile"),
        (10.2, 10.3, "meanwhile"),
        (9.0, 12.0, "meanwhile"),
        (11.0, 12.0, "after"),
        (19.0, 20.5, "meanwhile"),
        (22.5, 23.0, "after"),
    ],
)
def test_a_phase_is_told_by_what_a_request_overlapped(began_s: float, ended_s: float, phase: str) -> None:
    assert phase_of(seen(began_s, ended_s), DONE) == phase


@pytest.mark.parametrize(
    ("began_s", "ended_s", "adapter_id", "stale"),
    [
        (9.0, 9.5, "red@1", False),  # nothing was replaced yet
        (10.9, 11.2, "red@1", False),  # it was asked before the new one was promised
        (11.1, 11.2, "red@1", True),
        (11.1, 11.2, "red@2", False),
        (19.0, 20.5, "red@2", False),  # the third came meanwhile: either may answer
        (19.0, 20.5, "red@3", False),
        (22.1, 22.2, "red@2", True),
        (22.1, 22.2, "green@1", False),  # another task's, which nobody replaced
        (22.1, 22.2, "", False),
    ],
)
def test_stale_is_who_answers_after_the_new_one_was_promised(
    began_s: float, ended_s: float, adapter_id: str, stale: bool
) -> None:
    assert is_stale(seen(began_s, ended_s, adapter_id), DONE) is stale


def test_a_run_is_counted_and_timed_by_phase() -> None:
    some = [
        seen(1.0, 1.1, "red@1"),
        seen(2.0, 2.3, "red@1", verdict="another's"),
        seen(10.5, 10.9, "red@1"),
        seen(12.0, 12.2, "red@1"),
        seen(23.0, 23.2, "red@3"),
        seen(24.0, 24.1, "", "429 rate_limit_exceeded"),
        seen(25.0, 25.1, "", "broken ConnectionError: gone"),
    ]
    found = figures_of(some, DONE)
    counts = {key: found[key] for key in ("requests", "wrong", "refused", "broken")}
    assert counts == {"requests": 7, "wrong": 2, "refused": 1, "broken": 1}
    assert (found["replaced_s"], found["slowest_s"]) == (1.0, 2.0)
    assert found["before_p99_ms"] == pytest.approx(300)
    assert found["meanwhile_p50_ms"] == pytest.approx(400)
    assert (found["before_requests"], found["meanwhile_requests"], found["after_requests"]) == (2, 1, 2)


def test_a_phase_without_a_request_has_no_times() -> None:
    found = figures_of([seen(1.0, 1.1, "red@1")], DONE)
    assert found["after_requests"] == 0
    assert "after_p99_ms" not in found
