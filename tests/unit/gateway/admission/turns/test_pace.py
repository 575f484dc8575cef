"""Retry-After says how long the queue will take, by how quickly it has moved."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from gateway.admission.limits import Admission
from gateway.admission.turns.pace import ENOUGH, MOST_S, SPREAD, Pace
from gateway.errors import TooManyRequests
from tests.support.stack import config_of


def moving(every_s: float, count: int = 200, burst: int = 1) -> tuple[Pace, float]:
    pace, now = Pace(), 100.0
    pace.begins(now)
    for _ in range(count // burst):
        now += every_s * burst
        for _ in range(burst):
            pace.lets_in(now)
    return pace, now


@pytest.mark.parametrize("burst", [1, 8, 40])
@pytest.mark.parametrize("every_s", [0.0125, 0.1, 1.0])
def test_the_wait_is_the_queues_length_at_its_pace(every_s: float, burst: int) -> None:
    pace, now = moving(every_s, 400, burst)
    assert pace.wait_s(264, now) == pytest.approx(264 * every_s, rel=0.05)
    asked = [pace.retry_after_s(264, now) for _ in range(50)]
    assert max(1, min(MOST_S, 264 * every_s * 0.95)) <= min(asked)
    assert max(asked) <= min(MOST_S, 264 * every_s * 1.05 * (1 + SPREAD) + 1)


def test_it_is_never_under_a_second_nor_without_an_end() -> None:
    pace, now = moving(0.0001)
    assert pace.retry_after_s(1, now) == 1
    assert pace.retry_after_s(0, now) == 1
    assert moving(5.0)[0].retry_after_s(10_000, 10_000) == MOST_S
    assert Pace().retry_after_s(0, 0.0) == 1


def test_a_queue_that_stands_still_is_slower_than_it_was() -> None:
    pace, now = moving(0.1)
    assert pace.wait_s(10, now + 30) > 3 * pace.wait_s(10, now)


def test_time_in_which_nobody_waited_is_no_pace() -> None:
    pace, now = moving(0.1)
    pace.begins(now + 1000)
    pace.lets_in(now + 1000.1)
    assert pace.wait_s(10, now + 1000.1) == pytest.approx(1.0, rel=0.1)


@pytest.mark.anyio
async def test_a_refusal_says_how_long_the_queue_is(tmp_path: Path) -> None:
    now = [0.0]
    limits = Admission(config_of(tmp_path, max_in_flight=1, max_waiting_per_task=50), clock=lambda: now[0])
    gate = await limits.enter("naming")
    waiting = [asyncio.ensure_future(limits.enter("naming")) for _ in range(50)]
    await asyncio.sleep(0)
    for one in waiting[:20]:
        now[0] += 0.5
        limits.leave(gate)
        gate = await one
    waiting += [asyncio.ensure_future(limits.enter("naming")) for _ in range(20)]
    await asyncio.sleep(0)
    with pytest.raises(TooManyRequests) as refused:
        await limits.enter("naming")
    assert 24 <= (refused.value.retry_after_s or 0) <= 31  # 50 wait, two places a second
    for one in waiting:
        one.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)


def test_a_wait_is_in_vain_only_by_what_was_seen_and_one_standstill_counts_for_nothing() -> None:
    pace, now = Pace(), 0.0
    pace.begins(now)
    for step in range(80):
        assert pace.least_wait_s(100) == pytest.approx(0.0 if step < ENOUGH else 10.0)
        now += 0.1
        pace.lets_in(now)
    pace.lets_in(now + 60)
    assert pace.least_wait_s(100) == pytest.approx(10.0)
    pace.begins(now + 70)
    assert pace.least_wait_s(100) == pytest.approx(10.0)
    pace.begins(now + 170)  # so long empty that it may move otherwise now
    assert pace.least_wait_s(100) == 0.0


@pytest.mark.parametrize("burst", [2, 8, 16])
def test_places_that_come_free_together_are_as_quick_as_they_are_in_all(burst: int) -> None:
    pace, _ = moving(0.1, burst=burst)
    assert pace.least_wait_s(100) == pytest.approx(10.0)
