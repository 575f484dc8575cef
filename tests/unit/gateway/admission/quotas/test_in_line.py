"""Who waits for one account's room, and how long that takes."""

from __future__ import annotations

import pytest

from gateway.admission.quotas.in_line import InLine

pytestmark = pytest.mark.anyio


def test_the_wait_is_for_those_before_and_for_this_one() -> None:
    line = InLine()
    assert line.wait_s(0.0, 1, line.requests, 60) == 1.0
    for _ in range(4):
        line.joins(300)
    assert line.wait_s(0.0, 1, line.requests, 60) == 5.0
    assert line.wait_s(200.0, 100, line.tokens, 600) == 110.0
    assert line.wait_s(0.0, 10_000, 0.0, 600) == 60.0  # it needs a full bucket and no more
    line.leaves(300)
    assert (line.requests, line.tokens) == (3, 900)


def test_the_next_end_is_as_soon_as_they_are_many_and_short() -> None:
    line = InLine()
    assert line.next_end_s(4) == 1.0
    line.took(20.0)
    assert line.next_end_s(4) == 5.0
    for _ in range(50):
        line.took(4.0)
    assert line.next_end_s(4) == pytest.approx(1.0, rel=0.01)


async def test_who_stood_in_front_lets_the_next_in() -> None:
    line = InLine()
    line.joins(5)
    await line.lock.acquire()
    line.gives_way(5)
    assert (line.requests, line.lock.locked()) == (0, False)
