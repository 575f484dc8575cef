"""Which requests are held back after an engine's death, and which are sent no more: decided, and shared."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from gateway.admission.death_guard import DeathGuard, digest_of
from gateway.admission.suspect_file import SuspectFile
from gateway.admission.suspects import FORGET_S, MOST, RESTS_S, TOLD_WITHIN_S, Record, Suspects, kept, merged
from gateway.config.snapshot import Blame, EngineDeath, EngineStatus, Snapshot
from gateway.errors import EngineKilled, Unavailable

KILLER, INNOCENT = "aaaa", "bbbb"


def died(suspects: Suspects, process: str, *digests: str, at: float = 0.0, blame: Blame = "request") -> None:
    for digest in digests:
        suspects.fell(process, digest, at, answered=True)
    suspects.died(process, blame, at)


def test_nothing_is_watched_until_something_fell() -> None:
    suspects = Suspects()
    assert not suspects.watchful
    assert suspects.verdict(KILLER, 0) == "free"
    suspects.died("one", "request", 0)
    assert not suspects.watchful


def test_what_was_with_one_dead_engine_is_a_suspect_and_with_two_is_condemned() -> None:
    suspects = Suspects()
    died(suspects, "one", KILLER, INNOCENT)
    assert [suspects.verdict(one, 1) for one in (KILLER, INNOCENT, "cccc")] == ["suspect", "suspect", "free"]
    assert suspects.clear(INNOCENT)
    died(suspects, "two", KILLER, "cccc", at=2)
    assert [suspects.verdict(one, 3) for one in (KILLER, INNOCENT, "cccc")] == [
        "condemned",
        "free",
        "suspect",
    ]


def test_an_innocent_that_is_answered_between_two_deaths_begins_anew() -> None:
    suspects = Suspects()
    for process in ("one", "two", "three"):
        died(suspects, process, INNOCENT)
        assert suspects.verdict(INNOCENT, 1) == "suspect"
        suspects.clear(INNOCENT)
    assert not suspects.watchful


def test_one_death_counts_once_however_many_equal_requests_there_were_and_however_often_it_is_told() -> None:
    suspects = Suspects()
    for _ in range(50):
        suspects.fell("one", KILLER, 0, answered=True)
    assert suspects.died("one", "request", 0)
    assert suspects.died("one", "request", 1) == {}
    suspects.fell("one", KILLER, 2, answered=False)  # its connection is read late
    assert suspects.verdict(KILLER, 3) == "suspect"


def test_what_falls_after_its_engines_death_was_told_is_a_suspect_too() -> None:
    suspects = Suspects()
    suspects.died("one", "request", 0)
    assert suspects.fell("one", KILLER, 1, answered=False) == {KILLER: Record(("one",), 1)}


@pytest.mark.parametrize("blame", ["nobody", "memory"])
def test_an_engine_that_was_ended_from_outside_or_by_want_of_memory_condemns_nobody(blame: Blame) -> None:
    suspects = Suspects()
    for process in ("one", "two", "three"):
        died(suspects, process, INNOCENT, blame=blame)
    assert suspects.verdict(INNOCENT, 1) == ("free" if blame == "nobody" else "suspect")


def test_memory_may_be_a_requests_doing_so_it_does_not_clear_one() -> None:
    suspects = Suspects()
    died(suspects, "one", KILLER)
    died(suspects, "two", KILLER, blame="memory")
    assert suspects.verdict(KILLER, 1) == "suspect"
    died(suspects, "three", KILLER)
    assert suspects.verdict(KILLER, 1) == "condemned"


def test_of_somebody_elses_server_only_what_it_answered_with_a_failure_counts() -> None:
    suspects = Suspects()
    suspects.fell("one", KILLER, 0, answered=True)
    suspects.fell("one", INNOCENT, 0, answered=False)
    assert list(suspects.died("one", "unknown", 1)) == [KILLER]


def test_a_failure_without_a_death_is_held_back_for_seconds_and_forgotten() -> None:
    suspects = Suspects()
    suspects.fell("one", INNOCENT, 0, answered=True)
    assert suspects.verdict(INNOCENT, RESTS_S - 1) == "suspect"
    assert suspects.verdict(INNOCENT, RESTS_S + 1) == "free"
    suspects.forget(TOLD_WITHIN_S + 1)
    assert not suspects.watchful


def test_all_is_forgotten_after_an_hour_and_the_number_is_bounded() -> None:
    suspects = Suspects()
    for process in ("one", "two"):
        died(suspects, process, KILLER)
    assert suspects.verdict(KILLER, FORGET_S - 1) == "condemned"
    assert suspects.verdict(KILLER, FORGET_S + 1) == "free"
    suspects.forget(FORGET_S + 1)
    assert not suspects.watchful
    many = {f"{number}": Record(("one",), number / MOST) for number in range(MOST + 5)}
    assert set(many) - set(kept(many, 2)) == {f"{number}" for number in range(5)}


def test_what_two_workers_know_of_one_death_is_one_death() -> None:
    one, other = {KILLER: Record(("one",), 1)}, {KILLER: Record(("one",), 2), INNOCENT: Record((), 2)}
    assert merged(one, other) == {KILLER: Record(("one",), 2), INNOCENT: Record((), 2)}
    assert merged(one, {KILLER: Record(("two",), 3)})[KILLER].condemned


# Shared among workers, and over restarts.


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


def test_a_broken_file_knows_nothing_and_is_written_anew(tmp_path: Path) -> None:
    (tmp_path / "suspects.json").write_bytes(b'{"half')
    one = guard(tmp_path)
    assert not one.watches()
    one.fell("one", BODY, answered=True)
    one.heard(snapshot("one"))
    assert SuspectFile(tmp_path).changed() is not None
    assert guard(tmp_path).watches()


def test_where_nothing_can_be_written_the_process_still_knows(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    one = guard(tmp_path / "missing")
    one.fell("one", BODY, answered=True)
    one.heard(snapshot("one"))
    assert one.verdict(BODY) == "suspect"
    assert "cannot be written down" in caplog.text


# One at a time.


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


@pytest.mark.anyio
async def test_a_turn_that_another_worker_has_is_waited_for(tmp_path: Path) -> None:
    mine, other = suspecting(tmp_path, b"a", b"b"), guard(tmp_path)
    theirs = SuspectFile(tmp_path).try_turn()
    assert theirs is not None
    assert mine.watches()
    assert other.watches()
    waiting = asyncio.create_task(other.admit((b"b",)))
    for _ in range(5):
        await asyncio.sleep(0)
    assert not waiting.done()
    os.close(theirs)
    turn = await waiting
    assert turn is not None
    turn.give_back()
