"""Several engines with fewer slots than adapters: each adapter has its turn at one, and is sent there."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest

from gateway.config.snapshot import EngineStatus, Snapshot, on_engine
from tests.fakes.fake_control import engine_of, snapshot_with
from tests.fakes.fake_engine import Answer
from tests.support.controlled import Two, held, says, two
from tests.support.stack import TASKS, eventually

pytestmark = pytest.mark.anyio
NAMING, CONCEPT = TASKS["naming"], TASKS["concept"]


def slotted(t: Two, first: Sequence[str] = (), second: Sequence[str] = ()) -> list[EngineStatus]:
    return [
        engine_of(t.c.engine.url, "ready", *(first or TASKS.values()), slots=1),
        engine_of(t.other.url, "ready", *(second or TASKS.values()), name="engine-1", slots=1),
    ]


def placed(t: Two, first: Sequence[str], second: Sequence[str]) -> list[EngineStatus]:
    """Each with what it has, and slots for all."""
    return [
        engine_of(t.c.engine.url, "ready", *first),
        engine_of(t.other.url, "ready", *second, name="engine-1"),
    ]


def asked(t: Two) -> list[set[object]]:
    return [{one.json["model"] for one in engine.completions} for engine in (t.c.engine, t.other)]


@pytest.mark.usefixtures("both_ways")
async def test_each_engine_has_its_own_adapter_and_keeps_it(tmp_path: Path) -> None:
    async with two(tmp_path) as t:
        await t.c.tell(slotted(t))
        for _ in range(5):
            for model in TASKS:
                says(await t.c.stack.chat(model=model))
        assert all(len(models) == 1 for models in asked(t))
        shown = {one["adapter"]: one["engines"] for one in (await t.c.health())["residency"]}
        assert sorted(shown.values()) == [["engine-0"], ["engine-1"]]


@pytest.mark.usefixtures("both_ways")
async def test_a_burst_of_both_leaves_each_where_it_is(tmp_path: Path) -> None:
    async with two(tmp_path) as t:
        await t.c.tell(slotted(t))
        hold, answer = held()
        for engine in (t.c.engine, t.other):
            engine.answers = {NAMING: answer, CONCEPT: answer}
        asking = [asyncio.create_task(t.c.stack.chat(model=model)) for model in [*TASKS] * 10]
        await t.active(20)
        assert all(len(models) == 1 for models in asked(t))
        assert t.counts == (10, 10)
        hold.set()
        for each in asking:
            says(await each)


@pytest.mark.usefixtures("both_ways")
async def test_who_finds_no_slot_waits_for_its_turn_and_is_sent_where_it_has_one(tmp_path: Path) -> None:
    async with two(tmp_path, least_residency_s=0.001) as t:
        await t.c.tell(slotted(t, first=[NAMING, CONCEPT], second=["old@1"]))
        hold, answer = held()
        t.c.engine.answers[NAMING] = answer
        first = asyncio.create_task(t.c.stack.chat())
        await t.active(1)
        second = asyncio.create_task(t.c.stack.chat(model="concept"))
        await eventually(lambda: t.c.stack.gateway.admission.waiting == 1)
        hold.set()
        assert [says(await each) for each in (first, second)] == [NAMING, CONCEPT]
        assert t.counts == (2, 0)


@pytest.mark.usefixtures("both_ways")
async def test_an_engine_that_dies_takes_nobodys_turn_with_it(tmp_path: Path) -> None:
    async with two(tmp_path) as t:
        await t.c.tell(slotted(t))
        says(await t.c.stack.chat())
        says(await t.c.stack.chat(model="concept"))
        where = next(one["engines"] for one in (await t.c.health())["residency"] if one["adapter"] == NAMING)
        dead, left = (t.c.engine, t.other) if where == ["engine-0"] else (t.other, t.c.engine)
        await dead.stop()
        for _ in range(4):  # to one that is dead at first, and has its slot there until that is known
            assert says(await t.c.stack.chat()) == NAMING
        await t.c.tell([one for one in slotted(t) if one.url == left.url])
        for model, adapter_id in TASKS.items():
            assert says(await t.c.stack.chat(model=model)) == adapter_id


async def test_one_that_gives_up_in_the_queue_leaves_no_seat_taken(tmp_path: Path) -> None:
    async with two(tmp_path, least_residency_s=0.001) as t:
        await t.c.tell(slotted(t, first=[NAMING, CONCEPT], second=["old@1"]))
        hold, answer = held()
        t.c.engine.answers[NAMING] = answer
        first = asyncio.create_task(t.c.stack.chat())
        await t.active(1)
        _, writer = await t.c.stack.open(model="concept")
        await eventually(lambda: t.c.stack.gateway.admission.waiting == 1)
        writer.transport.abort()
        await eventually(lambda: t.c.stack.gateway.admission.waiting == 0)
        hold.set()
        says(await first)
        assert says(await t.c.stack.chat(model="concept")) == CONCEPT
        assert says(await t.c.stack.chat()) == NAMING


async def test_a_copy_for_a_candidate_goes_where_that_has_its_slot(tmp_path: Path) -> None:
    async with two(tmp_path) as t:
        await t.c.tell(slotted(t))
        admission = t.c.stack.gateway.admission
        assert admission.try_beside(CONCEPT)
        seat = admission.seat(CONCEPT)
        shown = {one["adapter"]: one["engines"] for one in admission.residency()}
        assert shown == {CONCEPT: [seat]}
        admission.leave_beside(CONCEPT, seat)
        assert admission.residency() == []


async def test_a_replica_that_breaks_off_gives_its_seat_back(tmp_path: Path) -> None:
    async with two(tmp_path, least_residency_s=0.001) as t:
        await t.c.tell(slotted(t, first=[NAMING, CONCEPT], second=["old@1"]))
        t.c.engine.answers[NAMING] = Answer(raw=b"HTTP/1.1 200 OK\r\n")
        assert (await t.c.stack.chat()).status_code == 502
        assert says(await t.c.stack.chat(model="concept")) == CONCEPT


def to_come(snapshot: Snapshot, task: str) -> Snapshot:
    """The task's versions are on their way to an engine that takes requests."""
    status = snapshot.tasks[task]
    versions = [msgspec.structs.replace(version, state="loading") for version in status.versions]
    return msgspec.structs.replace(
        snapshot,
        version=snapshot.version + 1,
        tasks={**snapshot.tasks, task: msgspec.structs.replace(status, versions=versions)},
    )


@pytest.mark.parametrize("model", ["naming", NAMING])
async def test_an_adapter_between_two_homes_is_waited_for(tmp_path: Path, model: str) -> None:
    async with two(tmp_path) as t:
        await t.c.tell(placed(t, first=[CONCEPT], second=[]))
        assert t.c.control.snapshot is not None
        t.c.control.publish(to_come(t.c.control.snapshot, "naming"))
        await eventually(lambda: t.c.replicas.may_come("naming"))
        asking = asyncio.create_task(t.c.stack.chat(model=model))
        await eventually(lambda: t.c.stack.gateway.room.waiting == 1)
        t.c.version += 1
        await t.c.tell(placed(t, first=[CONCEPT], second=[NAMING]))
        answer = await asking
        assert says(answer) == NAMING
        assert (answer.headers["x-gateway-replica"], answer.headers["x-gateway-cold"]) == ("engine-1", "true")


async def test_one_that_nobody_is_to_load_is_refused_at_once(tmp_path: Path) -> None:
    async with two(tmp_path) as t:
        await t.c.tell(placed(t, first=[CONCEPT], second=[]))
        refused = await t.c.stack.chat()
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "adapter_not_loaded")


async def test_the_only_home_that_dies_is_waited_for_elsewhere(tmp_path: Path) -> None:
    async with two(tmp_path) as t:
        await t.c.tell(placed(t, first=[CONCEPT], second=[NAMING]))
        await t.other.stop()
        asking = asyncio.create_task(t.c.stack.chat())
        await eventually(lambda: bool(t.c.replica("engine-1").failures))
        left = placed(t, first=[CONCEPT], second=[])[:1]
        snapshot = snapshot_with(t.c.replicas.config, left, t.c.tasks, t.c.version)
        t.c.control.publish(to_come(snapshot, "naming"))
        await eventually(lambda: t.c.stack.gateway.room.waiting == 1)
        t.c.version += 1
        await t.c.tell(placed(t, first=[CONCEPT, NAMING], second=[])[:1])
        assert says(await asking) == NAMING


async def test_what_leaves_an_engine_is_not_asked_there_and_told_of_until_its_requests_end(
    tmp_path: Path,
) -> None:
    async with two(tmp_path) as t:
        hold, answer = held()
        t.c.engine.answers[NAMING] = answer
        await t.c.tell(placed(t, first=[NAMING], second=[]))
        asking = asyncio.create_task(t.c.stack.chat())
        await t.active(1)
        leaving = [
            engine_of(t.c.engine.url, "ready", leaving=[NAMING]),
            engine_of(t.other.url, "ready", NAMING, name="engine-1"),
        ]
        await t.c.tell(leaving)
        await t.c.control.until_reported(lambda one: one.version == t.c.version)
        assert t.c.control.reports[-1].leaving == [on_engine("engine-0", NAMING)]
        assert (await t.c.stack.chat()).headers["x-gateway-replica"] == "engine-1"
        hold.set()
        assert says(await asking) == NAMING
        await t.c.control.until_reported(lambda one: not one.leaving)
        await t.c.control.until_reported(lambda one: one.tokens == {NAMING: 18})
        await t.c.tell(t.engines(), {"naming": {"naming@next": 100.0}})
        assert not t.c.replicas.tokens, "each version is told of as long as it is there"


async def test_requests_from_before_there_was_a_choice_keep_what_leaves(tmp_path: Path) -> None:
    async with two(tmp_path) as t:
        hold, answer = held()
        t.c.engine.answers[NAMING] = answer
        await t.c.tell(placed(t, first=[NAMING], second=[])[:1])
        asking = asyncio.create_task(t.c.stack.chat())
        await t.active(1)
        await t.c.tell(
            [
                engine_of(t.c.engine.url, "ready", leaving=[NAMING]),
                engine_of(t.other.url, "ready", NAMING, name="engine-1"),
            ]
        )
        await t.c.control.until_reported(lambda one: one.leaving == [on_engine("engine-0", NAMING)])
        hold.set()
        says(await asking)
        await t.c.control.until_reported(lambda one: not one.leaving)


async def test_a_gateway_that_has_not_heard_its_control_plane_yet_waits_too(tmp_path: Path) -> None:
    """It begins with the file of before, and hears the rest a moment later."""
    async with two(tmp_path) as t:
        left = placed(t, first=[CONCEPT], second=[])
        t.c.replicas.control_is(False)
        t.c.replicas.apply(
            to_come(snapshot_with(t.c.replicas.config, left, t.c.tasks, t.c.version), "naming")
        )
        assert t.c.replicas.may_come("naming")
