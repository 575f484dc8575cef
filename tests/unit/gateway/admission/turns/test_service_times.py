"""How long an answer may be expected to take."""

from __future__ import annotations

from gateway.admission.turns.service_times import ENOUGH, REMEMBERED, ServiceTimes


def test_it_is_the_usual_time_less_for_shorter_answers_and_nothing_before_enough_is_known() -> None:
    times = ServiceTimes()
    for _ in range(ENOUGH):
        assert times.expected_s(100) == 0.0
        times.took(2.0, 100)
    times.took(60.0, 3000)  # one that took long says nothing of the next
    assert times.expected_s(100) == 2.0
    assert times.expected_s(4096) == 2.0  # what it may have at most is no forecast
    assert times.expected_s(10) == 0.2
    for _ in range(REMEMBERED):
        times.took(1.0, 0)  # answers without tokens, as embeddings are
    assert times.expected_s(0) == 1.0
