"""Copies of requests to a candidate: what it is sent, how its answers are held against the client's own."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest

from gateway.admission.limits import Admission
from gateway.config.snapshot import ShadowStatus
from gateway.errors import InvalidRequest
from gateway.http.engine_connection import Segments
from gateway.relay.shadow.copies import MOST_COPIES
from gateway.relay.shadow.copy import Copy
from gateway.relay.shadow.journal import ShadowRecord
from tests.fakes.fake_engine import Answer
from tests.support.stack import Stack, config_of, eventually, stack

pytestmark = pytest.mark.anyio

CANDIDATE = "naming@cccccccccccc"


OWN = "naming@bbbbbbbbbbbb"


@asynccontextmanager
async def shadowing(
    folder: Path, *, share: float = 1.0, loaded: bool = True, **settings: object
) -> AsyncIterator[Stack]:
    async with asyncio.timeout(30), stack(folder, **settings) as made:  # type: ignore[arg-type]
        shadowed(made, share, loaded=loaded)
        yield made


def shadowed(made: Stack, share: float, *, loaded: bool = True) -> None:
    """What the control plane says once `naming` has the candidate; with a share of 0, none any more."""
    snapshot = made.gateway.replicas.snapshot
    engine = snapshot.engines[0]
    ids = [one for one in engine.loaded if one != CANDIDATE] + ([CANDIDATE] if loaded else [])
    shadow = ShadowStatus(CANDIDATE, share) if share else None
    task = msgspec.structs.replace(snapshot.tasks["naming"], shadow=shadow)
    made.gateway.replicas.apply(
        msgspec.structs.replace(
            snapshot,
            version=snapshot.version + 1,
            engines=[msgspec.structs.replace(engine, loaded=ids)],
            tasks={**snapshot.tasks, "naming": task},
        )
    )


async def adopted(made: Stack, *, candidates: int = 1) -> None:
    await eventually(lambda: len(made.gateway.shadow.candidates) == candidates)


def counted(made: Stack, outcome: str) -> float:
    key = ("shadow_total", f"candidate={CANDIDATE}", f"outcome={outcome}", "task=naming")
    return made.samples().get(key, 0.0)


async def until_counted(made: Stack, outcome: str, times: int = 1) -> None:
    await eventually(lambda: counted(made, outcome) == times)


def to(made: Stack, model: str) -> list[dict[str, object]]:
    """What the engine was asked of a model."""
    return [request.json for request in made.engine.completions if request.json["model"] == model]


async def records(folder: Path, number: int = 1) -> list[ShadowRecord]:
    path = folder / "shadow" / "naming.jsonl"
    await eventually(lambda: path.exists() and len(path.read_bytes().splitlines()) == number)
    return [msgspec.json.decode(line, type=ShadowRecord) for line in path.read_bytes().splitlines()]


@pytest.mark.usefixtures("both_ways")
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize(("tokens", "outcome"), [(["Par", "is"], "same"), (["Ly", "on"], "different")])
async def test_copy_is_compared(tmp_path: Path, stream: bool, tokens: list[str], outcome: str) -> None:
    async with shadowing(tmp_path) as made:
        await adopted(made)
        made.engine.answers[CANDIDATE] = Answer(tokens)
        answer = await made.chat(stream=stream)
        assert answer.headers["x-gateway-adapter"] == OWN
        await until_counted(made, outcome)
        (record,) = await records(tmp_path)
        assert (record.outcome, record.streamed, record.sampled) == (outcome, stream, False)
        assert record.request_id == answer.headers["x-request-id"]
        assert (record.answered, record.candidate) == (OWN, CANDIDATE)
        assert record.chars == [5, len("".join(tokens))]
        assert record.tokens == [2, 2]
        assert record.finish == ["stop", "stop"]
        assert len(record.ms) == len(record.digests) == 2
        assert (record.digests[0] == record.digests[1]) is (outcome == "same")
        text = (tmp_path / "shadow" / "naming.jsonl").read_text()
        assert not any(word in text for word in ("Paris", "Lyon", "cat"))
        await made.at_rest()


@pytest.mark.usefixtures("both_ways")
async def test_client_waits_for_no_copy_and_copies_are_bounded(tmp_path: Path) -> None:
    async with shadowing(tmp_path) as made:
        await adopted(made)
        held = asyncio.Event()
        made.engine.answers[CANDIDATE] = Answer(hold_head=held)
        for _ in range(MOST_COPIES + 2):
            assert (await made.chat()).status_code == 200
        await until_counted(made, "dropped", 2)
        await made.engine.until(lambda: made.engine.active == MOST_COPIES)
        assert made.gateway.shadow.in_flight == MOST_COPIES
        assert made.gateway.admission.in_flight == 0
        held.set()
        await until_counted(made, "same", MOST_COPIES)


async def test_copies_are_no_requests_of_any_client(tmp_path: Path) -> None:
    async with shadowing(tmp_path) as made:
        await adopted(made)
        await made.chat()
        await until_counted(made, "same")
        assert not [key for key in made.samples() if f"adapter={CANDIDATE}" in key]
        asked = {key: value for key, value in made.samples().items() if key[0] == "requests_total"}
        assert list(asked.values()) == [1.0]


@pytest.mark.usefixtures("both_ways")
async def test_copy_of_a_client_that_leaves_is_aborted(tmp_path: Path) -> None:
    async with shadowing(tmp_path) as made:
        await adopted(made)
        never = asyncio.Event()
        made.engine.answers[OWN] = Answer(hold_token={1: never})
        made.engine.answers[CANDIDATE] = Answer(hold_head=never)
        reader, writer = await made.open(stream=True)
        await reader.readuntil(b"Par")
        await made.engine.until(lambda: made.engine.active == 2)
        writer.transport.abort()
        await made.engine.until(lambda: made.engine.aborts == 2)
        await until_counted(made, "dropped")
        assert made.gateway.shadow.in_flight == 0
        await made.at_rest()


@pytest.mark.usefixtures("both_ways")
@pytest.mark.parametrize("status", [400, 500])
async def test_own_answer_that_fails_begins_no_copy(tmp_path: Path, status: int) -> None:
    async with shadowing(tmp_path) as made:
        await adopted(made)
        made.engine.answers[OWN] = Answer(status=status)
        assert (await made.chat()).status_code == status
        assert not to(made, CANDIDATE)


@pytest.mark.usefixtures("both_ways")
async def test_copy_of_a_stream_that_breaks_off_is_dropped(tmp_path: Path) -> None:
    async with shadowing(tmp_path) as made:
        await adopted(made)
        made.engine.answers[OWN] = Answer(break_before=1)
        assert "error" in (await made.chat(stream=True)).text
        await until_counted(made, "dropped")


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (Answer(status=500), "status_500"),
        (Answer(status=404), "status_404"),
        (Answer(body=b'{"choices": []}'), "no_answer"),
        (Answer(raw=b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n{"), "engine_error"),
    ],
)
async def test_copy_that_fails_says_why(tmp_path: Path, given: Answer, reason: str) -> None:
    async with shadowing(tmp_path) as made:
        await adopted(made)
        made.engine.answers[CANDIDATE] = given
        assert (await made.chat()).status_code == 200
        await until_counted(made, "failed")
        (record,) = await records(tmp_path)
        assert (record.outcome, record.reason, len(record.ms)) == ("failed", reason, 1)


async def test_copy_that_cannot_be_written_gives_its_place_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with shadowing(tmp_path) as made:
        await adopted(made)

        def refused(copy: Copy) -> Segments:
            raise InvalidRequest("no")

        monkeypatch.setattr(made.gateway.shadow, "_body", refused)
        assert (await made.chat()).status_code == 200
        await until_counted(made, "failed")
        assert made.gateway.admission.busy(CANDIDATE) == 0


async def test_candidate_that_is_not_loaded_fails(tmp_path: Path) -> None:
    async with shadowing(tmp_path, loaded=False) as made:
        await adopted(made)
        assert (await made.chat()).status_code == 200
        (record,) = await records(tmp_path)
        assert record.reason == "adapter_not_loaded"


async def test_copies_end_with_their_candidate(tmp_path: Path) -> None:
    async with shadowing(tmp_path) as made:
        await adopted(made)
        made.engine.answers[CANDIDATE] = Answer(hold_head=asyncio.Event())
        await made.chat()
        await made.engine.until(lambda: made.engine.active == 1)
        shadowed(made, 0.0)
        await adopted(made, candidates=0)
        await made.engine.until(lambda: made.engine.aborts == 1)
        await until_counted(made, "dropped")
        await made.chat()
        assert len(to(made, CANDIDATE)) == 1


async def test_copies_give_way_to_a_client_that_waits(tmp_path: Path) -> None:
    async with shadowing(tmp_path, max_in_flight_per_task=1) as made:
        await adopted(made)
        held = asyncio.Event()
        made.engine.answers[CANDIDATE] = Answer(hold_head=asyncio.Event())
        await made.chat()
        await made.engine.until(lambda: made.engine.active == 1)
        made.engine.answers[OWN] = Answer(hold_head=held)
        async with asyncio.TaskGroup() as group:
            waiting = [group.create_task(made.chat()) for _ in range(2)]
            await made.engine.until(lambda: made.engine.aborts == 1)
            held.set()
        assert [one.result().status_code for one in waiting] == [200, 200]
        assert counted(made, "dropped") >= 1


async def test_shutdown_cancels_copies_and_keeps_what_is_known(tmp_path: Path) -> None:
    async with shadowing(tmp_path) as made:
        await adopted(made)
        answers = iter([Answer(), Answer(hold_head=asyncio.Event())])
        made.engine.answers[CANDIDATE] = lambda _: next(answers)
        await made.chat()
        await made.chat()
        await made.engine.until(lambda: made.engine.active == 1)
        await made.gateway.shadow.stop()
        assert made.gateway.shadow.in_flight == 0
        assert len(await records(tmp_path)) == 1
        await made.at_rest()


async def test_share_is_a_matter_of_chance(tmp_path: Path) -> None:
    async with shadowing(tmp_path, share=0.25, express=False) as made:
        await adopted(made)
        points = iter([0.0, 0.24, 0.25, 0.9])
        made.gateway.shadow.chance = lambda: next(points)
        for _ in range(4):
            await made.chat()
        await until_counted(made, "same", 2)
        assert len(to(made, CANDIDATE)) == 2


async def test_other_tasks_are_not_copied(tmp_path: Path) -> None:
    async with shadowing(tmp_path) as made:
        await adopted(made)
        await made.chat(model="concept")
        await made.chat(model="base")
        assert len(made.engine.completions) == 2


async def test_stages_of_a_pipeline_are_copied(tmp_path: Path) -> None:
    async with shadowing(tmp_path) as made:
        await adopted(made)
        made.engine.answers["concept@aaaaaaaaaaaa"] = Answer(['{"concepts":[{"definition":"round"}]}'])
        made.engine.answers[OWN] = made.engine.answers[CANDIDATE] = Answer(['"ball"'])
        for stream in (False, True):
            answer = await made.chat(model="concept-naming", stream=stream)
            assert answer.status_code == 200, answer.text
        await until_counted(made, "same", 2)
        assert {record.request_id for record in await records(tmp_path, 2)}


async def test_texts_are_kept_where_that_is_set(tmp_path: Path) -> None:
    async with shadowing(tmp_path, shadow_texts=True) as made:
        await adopted(made)
        await made.chat()
        (record,) = await records(tmp_path)
        assert record.texts == ["Paris", "Paris"]
        assert json.loads(bytes(record.request))["messages"][-1]["content"] == "cat"


@pytest.mark.parametrize("heeded", [True, False])
async def test_copies_come_last_where_the_engine_schedules_by_priority(tmp_path: Path, heeded: bool) -> None:
    async with shadowing(tmp_path) as made:
        await adopted(made)
        replicas = made.gateway.replicas
        (engine,) = replicas.snapshot.engines
        engines = [msgspec.structs.replace(engine, priorities=heeded)]
        replicas.apply(
            msgspec.structs.replace(replicas.snapshot, version=replicas.snapshot.version + 1, engines=engines)
        )
        await made.chat()
        await until_counted(made, "same")
        (own,), (copied,) = to(made, OWN), to(made, CANDIDATE)
        assert "priority" not in own
        assert copied.get("priority") == (1000 if heeded else None)


async def test_place_beside_counts_in_no_bound_and_leaves_its_slot(tmp_path: Path) -> None:
    admission = Admission(config_of(tmp_path, max_in_flight_per_task=1, least_residency_s=60.0))
    admission.set_slots(1, 2)
    assert admission.try_beside(CANDIDATE)
    assert (admission.in_flight, admission.busy(CANDIDATE)) == (0, 1)
    waiting = asyncio.ensure_future(admission.enter("naming", OWN))
    await asyncio.sleep(0)
    assert admission.waiting == 1  # for the only slot
    assert not admission.try_beside(CANDIDATE)
    admission.leave_beside(CANDIDATE)
    gate = await waiting
    assert (admission.in_flight, admission.busy(CANDIDATE)) == (1, 0)
    assert not admission.try_beside(CANDIDATE)  # the slot is another's
    admission.leave(gate, OWN)
