"""The line of suspects by itself: who goes, who is told, and what a waiter that leaves gives back."""

from __future__ import annotations

import asyncio
import os

import pytest

from gateway.admission.suspect_line import LOOK_S, TURN_S, SuspectLine, Turn
from gateway.admission.suspects import Verdict
from gateway.errors import EngineKilled
from tests.fakes.virtual_time import now, passed, virtual

pytestmark = pytest.mark.filterwarnings("error")


class House:
    """What the line asks: verdicts by digest, and the turn among workers."""

    def __init__(self) -> None:
        self.verdicts: dict[str, Verdict] = {}
        self.elsewhere = False
        self.broken = False
        self.looks = 0
        self.line = SuspectLine(self.judge, self.try_turn, self.look, now)

    def judge(self, digest: str, came: float) -> Verdict:
        verdict = self.verdicts.get(digest, "suspect")
        if verdict == "condemned":
            raise EngineKilled("twice")
        return verdict

    def try_turn(self) -> int | None:
        if self.broken:
            raise OSError("no such folder")
        return None if self.elsewhere else os.open(os.devnull, os.O_RDONLY)

    def look(self) -> None:
        self.looks += 1

    def wait(self, digest: str) -> asyncio.Task[Turn | None]:
        return asyncio.create_task(self.line.turn(digest))


@virtual
async def test_first_come_first_served_and_one_that_runs_long_holds_up_for_a_turn_only() -> None:
    house = House()
    first, second, third = (house.wait(digest) for digest in "abc")
    turn = await first
    assert turn is not None
    await passed(TURN_S - 1.0)
    assert (second.done(), third.done()) == (False, False)
    await passed(1.0 + LOOK_S)
    turn.give_back()  # it ends at last: the turn is another's by now
    await passed(LOOK_S)
    assert (second.done(), third.done()) == (True, False)
    (await second).give_back()  # type: ignore[union-attr]
    (await third).give_back()  # type: ignore[union-attr]


@virtual
async def test_another_workers_turn_is_waited_for() -> None:
    house = House()
    house.elsewhere = True
    waiting = house.wait("a")
    await passed(20 * LOOK_S)
    assert not waiting.done()
    assert house.looks >= 19
    house.elsewhere = False
    turn = await waiting
    assert turn is not None
    turn.give_back()
    looks = house.looks
    await passed(10 * LOOK_S)
    assert house.looks <= looks + 1  # nobody waits, nothing is looked at


@virtual
async def test_who_is_cleared_and_who_is_condemned_meanwhile_leaves_the_line_at_once() -> None:
    house = House()
    turn = await house.line.turn("a")
    cleared, condemned, waiting = (house.wait(digest) for digest in "bcd")
    await passed(0.0)
    house.verdicts |= {"b": "free", "c": "condemned"}
    house.line.go_on()
    await passed(0.0)
    assert await cleared is None
    with pytest.raises(EngineKilled):
        await condemned
    assert (len(house.line), waiting.done()) == (1, False)
    assert turn is not None
    turn.give_back()
    (await waiting).give_back()  # type: ignore[union-attr]


@virtual
async def test_a_waiter_that_leaves_as_its_turn_comes_gives_it_on() -> None:
    house = House()
    turn = await house.line.turn("a")
    leaves, waits = house.wait("b"), house.wait("c")
    await passed(0.0)
    assert turn is not None
    turn.give_back()  # "b" has it
    leaves.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaves
    (await waits).give_back()  # type: ignore[union-attr]
    assert len(house.line) == 0


@virtual
async def test_a_state_directory_that_cannot_be_written_holds_nobody_up() -> None:
    house = House()
    house.broken = True
    turn = await house.line.turn("a")
    assert turn is not None
    turn.give_back()


@virtual
async def test_when_to_come_again_follows_how_quickly_the_line_moves() -> None:
    house = House()
    assert house.line.retry_after_s() == 5
    line = [house.wait(digest) for digest in "abcd"]
    for task in line[:2]:
        turn = await task
        await passed(20.0)
        assert turn is not None
        turn.give_back()
    assert 40 <= house.line.retry_after_s() <= 80  # one has its turn, one waits, one comes
    for task in line[2:]:
        (await task).give_back()  # type: ignore[union-attr]
