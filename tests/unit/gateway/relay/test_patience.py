"""A client's deadline: what cannot make it is refused at once, what passes it ends, and nothing stays."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path

import httpx
import pytest

from gateway.admission.limits import Admission
from gateway.dialects.chat.dialect import CHAT
from gateway.errors import DeadlineExceeded, DeadlineUnreachable, InvalidRequest, RequestError, Unavailable
from gateway.metrics.counters import Metrics
from gateway.relay.patience import take_patience
from gateway.relay.request_record import Exchange
from tests.fakes.fake_engine import Answer
from tests.support.stack import Stack, config_of, stack
from tests.support.waiting import eventually

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    ("said", "begins_s", "ends_s"),
    [
        ({}, None, None),
        ({b"x-request-timeout-ms": b"2500"}, None, 2.5),
        ({b"x-request-timeout-ms": b"0.5"}, None, 0.0005),
        ({b"x-stainless-read-timeout": b"600"}, 600, None),
        ({b"x-stainless-read-timeout": b"7.5", b"x-stainless-timeout": b"NOT_GIVEN"}, 7.5, None),
        ({b"x-stainless-timeout": b"1"}, 2, None),  # 1.9 s in JavaScript
        ({b"x-stainless-timeout": b"0"}, 1, None),
        ({b"x-stainless-read-timeout": b"None"}, None, None),
        ({b"x-stainless-timeout": b"NOT_GIVEN"}, None, None),
        ({b"x-stainless-read-timeout": b"inf"}, None, None),
        ({b"x-stainless-timeout": b"9" * 400}, None, None),
        ({b"x-stainless-timeout": b"9" * 5000}, None, None),
    ],
)
def test_what_a_head_says(said: dict[bytes, bytes], begins_s: float | None, ends_s: float | None) -> None:
    exchange = Exchange(Metrics.single(), b"r", CHAT)
    take_patience(exchange, said)
    far = float("inf")
    assert exchange.begin_by == (far if begins_s is None else exchange.arrived + begins_s)
    assert exchange.end_by == (far if ends_s is None else exchange.arrived + ends_s)


@pytest.mark.parametrize("said", [b"soon", b"0", b"-5", b"nan", b"", b"1e999"])
def test_a_deadline_that_is_none_is_named(said: bytes) -> None:
    with pytest.raises(InvalidRequest, match="x-request-timeout-ms"):
        take_patience(Exchange(Metrics.single(), b"r", CHAT), {b"x-request-timeout-ms": said})


async def ask(s: Stack, headers: dict[str, str], **fields: object) -> httpx.Response:
    body = {"model": "naming", "messages": [{"role": "user", "content": "cat"}], **fields}
    return await s.client.post("/v1/chat/completions", content=json.dumps(body), headers=headers)


JSON = {"content-type": "application/json"}


async def test_an_answer_that_does_not_come_in_time_is_504_and_aborted(
    tmp_path: Path, both_ways: None
) -> None:
    async with stack(tmp_path) as s:
        assert (await ask(s, JSON)).status_code == 200  # a connection is kept
        hold = asyncio.Event()
        s.engine.answers["naming@bbbbbbbbbbbb"] = Answer(hold_head=hold)
        late = await ask(s, {**JSON, "x-request-timeout-ms": "30"})
        assert (late.status_code, late.json()["error"]["code"]) == (504, "deadline_exceeded")
        await s.engine.until(lambda: s.engine.aborts == 1)
        await s.at_rest()
        assert s.gateway.replicas.ready[0].failures == 0  # the engine has done nothing wrong
        s.engine.answers.clear()
        assert (await ask(s, {**JSON, "x-request-timeout-ms": "20000"})).status_code == 200


async def test_a_stream_ends_with_an_event_that_says_so(tmp_path: Path, both_ways: None) -> None:
    async with stack(tmp_path) as s:
        assert (await ask(s, JSON)).status_code == 200
        s.engine.answers["naming@bbbbbbbbbbbb"] = Answer(hold_token={1: asyncio.Event()})
        late = await ask(s, {**JSON, "x-request-timeout-ms": "300"}, stream=True)
        assert late.status_code == 200
        events = [line for line in late.text.split("\n\n") if line]
        assert '"Par"' in events[-2] or '"Par"' in late.text
        assert json.loads(events[-1].removeprefix("data: "))["error"]["code"] == "deadline_exceeded"
        await s.engine.until(lambda: s.engine.aborts == 1)
        await s.at_rest()


async def test_a_pipeline_ends_too(tmp_path: Path) -> None:
    async with stack(tmp_path) as s:
        s.engine.answers["concept@aaaaaaaaaaaa"] = Answer(hold_head=asyncio.Event())
        late = await ask(s, {**JSON, "x-request-timeout-ms": "30"}, model="concept-naming")
        assert (late.status_code, late.json()["error"]["code"]) == (504, "deadline_exceeded")
        await s.at_rest()


async def test_no_number_is_400(tmp_path: Path, both_ways: None) -> None:
    async with stack(tmp_path) as s:
        refused = await ask(s, {**JSON, "x-request-timeout-ms": "soon"})
        assert (refused.status_code, s.engine.completions) == (400, [])


class Queue:
    """One place of a second each; `now` is the admission's clock."""

    def __init__(self, folder: Path, **bounds: object) -> None:
        self.now = 0.0
        self.limits = Admission(config_of(folder, max_in_flight=1, **bounds), clock=lambda: self.now)
        self.waiting: list[asyncio.Task[object]] = []

    async def moves(self, times: int) -> None:
        """A second a request, with twenty waiting all the while."""
        gate = await self.limits.enter("naming", key="other")
        for _ in range(20 + times):
            self.waiting.append(asyncio.create_task(self.limits.enter("naming", key="other")))
        await asyncio.sleep(0)
        for _ in range(times):
            self.now += 1
            self.limits.leave(gate)
            await self.waiting.pop(0)

    async def ends(self) -> None:
        for one in self.waiting:
            one.cancel()
        await asyncio.gather(*self.waiting, return_exceptions=True)

    async def refusal(self, key: str = "other", **given: float) -> RequestError:
        with pytest.raises(RequestError) as refused:
            await self.limits.enter("naming", key=key, **given)  # type: ignore[arg-type]
        return refused.value


async def test_what_cannot_have_its_turn_in_time_is_refused_at_once(tmp_path: Path) -> None:
    queue = Queue(tmp_path)
    await queue.moves(10)
    refused = await queue.refusal(left_s=15.0)
    assert isinstance(refused, DeadlineUnreachable)
    assert (refused.status, refused.code, refused.retry_after_s) == (429, "deadline_unreachable", 5)
    queue.waiting.append(asyncio.create_task(queue.limits.enter("naming", key="other", left_s=25.0)))
    # A key that has nothing waiting goes next, however many of others do.
    queue.waiting.append(asyncio.create_task(queue.limits.enter("naming", key="light", left_s=2.0)))
    await asyncio.sleep(0)
    assert (queue.limits.waiting, [one.done() for one in queue.waiting[-2:]]) == (22, [False, False])
    await queue.ends()


async def test_time_for_the_answer_itself_counts(tmp_path: Path) -> None:
    queue = Queue(tmp_path)
    await queue.moves(10)
    for _ in range(10):
        queue.limits.gates["naming"].service.took(4.0, 100)
    assert isinstance(await queue.refusal("light", left_s=4.5, tokens=100), DeadlineUnreachable)
    queue.waiting.append(
        asyncio.create_task(queue.limits.enter("naming", key="light", left_s=4.5, tokens=10))
    )
    await asyncio.sleep(0)
    assert not queue.waiting[-1].done()
    await queue.ends()


async def test_nobody_is_refused_by_a_guess(tmp_path: Path) -> None:
    queue = Queue(tmp_path)
    await queue.moves(3)  # too few to judge by
    queue.waiting.append(asyncio.create_task(queue.limits.enter("naming", key="other", left_s=5.0)))
    await asyncio.sleep(0)
    assert not queue.waiting[-1].done()
    await queue.ends()


async def test_one_that_waits_past_its_time_is_taken_from_the_queue(tmp_path: Path) -> None:
    queue = Queue(tmp_path)
    gate = await queue.limits.enter("naming")
    refused = await queue.refusal(left_s=0.01)
    assert isinstance(refused, DeadlineExceeded)
    assert (queue.limits.waiting, queue.limits.in_flight) == (0, 1)
    queue.limits.leave(gate)


async def test_a_wait_that_would_be_longer_than_any_may_be_is_no_wait(tmp_path: Path) -> None:
    queue = Queue(tmp_path, queue_timeout_s=10.0)
    await queue.moves(10)
    refused = await queue.refusal()
    assert isinstance(refused, Unavailable)
    assert (refused.code, refused.retry_after_s) == ("overloaded", 10)
    await queue.ends()


async def test_an_sdks_time_counts_in_the_queue(tmp_path: Path) -> None:
    async with stack(tmp_path, max_in_flight=1) as s:
        hold = asyncio.Event()
        s.engine.answers["naming@bbbbbbbbbbbb"] = Answer(hold_head=hold)
        first = asyncio.create_task(ask(s, JSON))
        await s.engine.until(lambda: s.engine.active == 1)
        second_one = asyncio.create_task(ask(s, JSON))
        await eventually(lambda: s.gateway.admission.waiting == 1)
        for second in range(9):  # a place comes free each second
            s.gateway.admission.gates["naming"].pace.lets_in(time.monotonic() + second)
        late = await ask(s, {**JSON, "x-stainless-read-timeout": "0.5"})
        assert (late.status_code, late.json()["error"]["code"]) == (429, "deadline_unreachable")
        hold.set()
        assert [(await one).status_code for one in (first, second_one)] == [200, 200]
        await s.at_rest()


@pytest.mark.parametrize("streaming", [False, True])
async def test_what_is_late_at_the_engine_is_counted(
    tmp_path: Path, both_ways: None, streaming: bool
) -> None:
    async with stack(tmp_path, follow_engines=False) as s:
        assert (await ask(s, JSON)).status_code == 200
        assert s.gateway.admission.take_ended() == (1, 0)
        s.engine.answers["naming@bbbbbbbbbbbb"] = Answer(hold_token={1: asyncio.Event()})
        await ask(s, {**JSON, "x-request-timeout-ms": "40"}, stream=streaming)
        await s.at_rest()
        assert s.gateway.admission.take_ended() == (0, 1)
        leaves = asyncio.create_task(ask(s, {**JSON, "x-request-timeout-ms": "60000"}, stream=streaming))
        await s.engine.until(lambda: s.engine.active == 1)
        leaves.cancel()  # long before its time: that is the client's own affair
        await s.at_rest()
        assert s.gateway.admission.take_ended() == (0, 0)


async def test_a_time_that_no_answer_is_there_in_says_nothing_of_the_engine(
    tmp_path: Path, both_ways: None
) -> None:
    """Else one client that never waits would have the engine run fewer at once, for all of them."""
    async with stack(tmp_path, follow_engines=False) as s:
        assert (await ask(s, JSON)).status_code == 200
        s.gateway.admission.take_ended()
        service = s.gateway.admission.gates["naming"].service
        s.engine.answers["naming@bbbbbbbbbbbb"] = Answer(hold_token={1: asyncio.Event()})
        for usual_s, late in ((5.0, 0), (0.01, 1)):
            for _ in range(32):
                service.took(usual_s, 100)
            assert (await ask(s, {**JSON, "x-request-timeout-ms": "40"}, max_tokens=100)).status_code == 504
            await s.at_rest()
            assert s.gateway.admission.take_ended() == (0, late)
            assert late or service.expected_s(100) == usual_s
