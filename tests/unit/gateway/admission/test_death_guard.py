"""Suspects among requests that run: who waits, who is told, and what a restart knows."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from gateway.admission.death_guard import DeathGuard, digest_of
from gateway.admission.suspect_line import LOOK_S, TURN_S
from gateway.admission.suspects import RESTS_S
from gateway.config.snapshot import Blame, EngineDeath, EngineStatus, Snapshot
from gateway.errors import DeadlineExceeded, EngineKilled, Unavailable
from tests.fakes.virtual_time import now, passed, virtual


def snapshot(process: str, blame: Blame = "request") -> Snapshot:
    return Snapshot(engines=[EngineStatus("engine-0", last_death=EngineDeath(process, blame))])


def guard(folder: Path, most: int = 8, wait_s: float = 30.0) -> DeathGuard:
    return DeathGuard(folder, most, wait_s)


BODY = (b'{"prompt":"secret ', b'words"}')


def test_digest_is_of_the_body_however_it_is_cut() -> None:
    assert digest_of(BODY) == digest_of((b"".join(BODY),))
    assert len(digest_of(BODY)) == 16


def test_condemned_by_one_worker_is_condemned_by_all_and_after_a_restart(tmp_path: Path) -> None:
    first = guard(tmp_path)
    for process in ("one", "two"):
        first.fell(process, BODY, answered=True)
        first.heard(snapshot(process))
    for one in (first, guard(tmp_path)):
        assert one.watches()
        with pytest.raises(EngineKilled) as raised:
            one.verdict(BODY)
        assert (raised.value.status, raised.value.code) == (500, "engine_killed_by_request")
        assert digest_of(BODY) in raised.value.message
    written = (tmp_path / "suspects.json").read_bytes()
    assert b"secret" not in written
    assert (tmp_path / "suspects.json").stat().st_mode & 0o777 == 0o600


def test_one_death_between_two_restarts_of_the_gateway_is_kept(tmp_path: Path) -> None:
    for process in ("one", "two"):
        again = guard(tmp_path)
        assert again.watches() is (process == "two")
        again.fell(process, BODY, answered=True)
        again.heard(snapshot(process))
    with pytest.raises(EngineKilled):
        again.verdict(BODY)


def test_cleared_by_one_worker_is_cleared_for_all(tmp_path: Path) -> None:
    first, second = guard(tmp_path), guard(tmp_path)
    first.fell("one", BODY, answered=True)
    first.heard(snapshot("one"))
    assert second.watches()
    assert second.verdict(BODY) == "suspect"
    first.answered(digest_of(BODY))
    second._look()
    assert second.verdict(BODY) == "free"


def suspecting(folder: Path, *bodies: bytes, most: int = 8, wait_s: float = 30.0) -> DeathGuard:
    made = guard(folder, most, wait_s)
    for body in bodies:
        made.fell("one", (body,), answered=True)
    made.heard(snapshot("one"))
    return made


@pytest.mark.anyio
async def test_suspects_take_turns_and_others_do_not_wait(tmp_path: Path) -> None:
    one = suspecting(tmp_path, b"a", b"b")
    first = await one.admit((b"a",))
    assert first is not None
    waiting = asyncio.create_task(one.admit((b"b",)))
    for _ in range(3):
        assert await one.admit((b"c",)) is None
    assert not waiting.done()
    one.answered(first.digest)
    first.give_back()
    second = await waiting
    assert second is not None
    second.give_back()
    second.give_back()


@pytest.mark.anyio
async def test_equal_requests_all_go_once_one_was_answered(tmp_path: Path) -> None:
    one = suspecting(tmp_path, b"a")
    turn = await one.admit((b"a",))
    waiting = [asyncio.create_task(one.admit((b"a",))) for _ in range(5)]
    await asyncio.sleep(0)
    assert turn is not None
    one.answered(turn.digest)
    turn.give_back()
    assert await asyncio.gather(*waiting) == [None] * 5


@pytest.mark.anyio
async def test_who_waits_while_the_killer_has_its_turn_is_told_at_its_second_death(tmp_path: Path) -> None:
    one = suspecting(tmp_path, b"a")
    turn = await one.admit((b"a",))
    waiting = [asyncio.create_task(one.admit((b"a",))) for _ in range(3)]
    await asyncio.sleep(0)
    one.fell("two", (b"a",), answered=True)
    one.heard(snapshot("two"))
    assert turn is not None
    turn.give_back()
    told = await asyncio.gather(*waiting, return_exceptions=True)
    assert [type(each) for each in told] == [EngineKilled] * 3


@pytest.mark.anyio
async def test_room_and_time_to_wait_are_bounded_and_a_waiter_that_leaves_takes_nothing(
    tmp_path: Path,
) -> None:
    one = suspecting(tmp_path, b"a", b"b", b"c", most=1, wait_s=0.05)
    turn = await one.admit((b"a",))
    assert turn is not None
    waiting = asyncio.create_task(one.admit((b"b",)))
    await asyncio.sleep(0)
    with pytest.raises(Unavailable, match="the most that may") as full:
        await one.admit((b"c",))
    assert (full.value.status, full.value.retry_after_s) == (503, 5)
    with pytest.raises(Unavailable, match="not its turn"):
        await waiting
    left = asyncio.create_task(one.admit((b"b",)))
    await asyncio.sleep(0)
    left.cancel()
    await asyncio.gather(left, return_exceptions=True)
    turn.give_back()
    again = await one.admit((b"c",))
    assert again is not None
    again.give_back()


@virtual
async def test_what_broke_off_without_a_death_waits_ten_seconds_whoever_has_the_turn_and_falls_again(
    tmp_path: Path,
) -> None:
    one = DeathGuard(tmp_path, 8, 60.0, now)
    for body in (b"slow", b"quick"):
        one.fell("one", (body,), answered=True)
    turn = await one.admit((b"slow",))
    assert turn is not None
    waiting = {body: asyncio.create_task(one.admit((body,))) for body in (b"quick", b"slow")}
    await passed(6.0)
    one.fell("one", (b"slow",), answered=True)
    assert not any(task.done() for task in waiting.values())
    await passed(RESTS_S - 6.0 + LOOK_S)
    assert [task.done() and task.result() for task in waiting.values()] == [None, None]
    turn.give_back()


@virtual
async def test_equal_requests_go_once_one_was_answered_though_another_suspect_has_the_turn(
    tmp_path: Path,
) -> None:
    one = DeathGuard(tmp_path, 8, 60.0, now)
    for body in (b"a", b"b"):
        one.fell("one", (body,), answered=True)
    one.heard(snapshot("one"))
    turn = await one.admit((b"a",))
    waiting = asyncio.create_task(one.admit((b"b",)))
    await passed(1.0)
    assert turn is not None
    assert not waiting.done()
    one.answered(digest_of((b"b",)))  # one that was sent before
    await passed(0.0)
    assert waiting.done()
    assert await waiting is None
    turn.give_back()


@virtual
async def test_a_suspect_waits_no_longer_than_its_client_and_is_told_when_to_come_again(
    tmp_path: Path,
) -> None:
    bodies = [b"%d" % number for number in range(8)]
    one = DeathGuard(tmp_path, 8, 60.0, now)
    for body in bodies:
        one.fell("one", (body,), answered=True)
    one.heard(snapshot("one"))
    turn = await one.admit((bodies[0],))
    with pytest.raises(DeadlineExceeded):
        await one.admit((bodies[1],), 5.0)
    assert round(now(), 3) == 5.0
    line = [asyncio.create_task(one.admit((body,))) for body in bodies[1:]]
    await passed(TURN_S + 61.0)  # each keeps the next one waiting for TURN_S
    told = [task.exception() if task.done() else None for task in line]
    late = [error for error in told if isinstance(error, Unavailable)]
    assert [type(error) for error in told] == [type(None)] * 2 + [Unavailable] * 5
    assert all("not its turn within 60 s" in error.message for error in late)
    assert all(TURN_S <= (error.retry_after_s or 0) <= 120 for error in late)
    for task in line[:2]:
        taken = await task
        assert taken is not None
        taken.give_back()
    assert turn is not None
