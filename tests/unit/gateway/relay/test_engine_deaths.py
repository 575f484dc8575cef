"""An engine dies of a request: what was with it is sent again alone, with two that died not at all."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from gateway.batches.attempts import Attempts
from gateway.batches.in_process import Answered
from gateway.batches.input_lines import RequestLine
from gateway.config.snapshot import Blame, EngineDeath
from gateway.errors import EngineKilled
from tests.fakes.fake_engine import Answer, Document
from tests.support.stack import Stack, eventually, snapshot_of, stack, write_report

pytestmark = pytest.mark.anyio
both_ways = pytest.mark.parametrize("express", [True, False], ids=["express", "task"])
DYING = Answer(status=500, body=b'{"error":{"message":"EngineCore encountered an issue."}}')


class Engine:
    """Deaths and starts of the stack's engine, as the control plane tells them."""

    def __init__(self, s: Stack) -> None:
        self._s = s
        self._life = 1.0

    def dies(self, blame: Blame = "request") -> None:
        """The process that listened is gone, and another one listens."""
        death = EngineDeath(f"engine-0 of {self._life:.3f}", blame)
        self._life += 1
        replicas = self._s.gateway.replicas
        told = snapshot_of(
            replicas.config,
            int(self._life),
            url=self._s.engine.url,
            state="ready",
            started_at=self._life,
            last_death=death,
        )
        self._s.gateway.guard.heard(told)
        replicas.apply(told)


def answers_of(s: Stack, **by_text: Answer) -> None:
    """How the engine answers a chat by its text."""

    def answer(asked: Document) -> Answer:
        messages: Any = asked["messages"]
        return by_text.get(messages[-1]["content"], Answer())

    s.engine.answers["base"] = answer


async def ask(s: Stack, text: str, **fields: object) -> tuple[int, str]:
    answer = await s.chat(model="base", messages=[{"role": "user", "content": text}], **fields)
    return answer.status_code, answer.text


def times_sent(s: Stack, text: str) -> int:
    return sum(text.encode() in request.body for request in s.engine.completions)


@both_ways
@pytest.mark.parametrize("stream", [False, True])
async def test_what_was_with_two_dead_engines_is_not_sent_a_third_time(
    tmp_path: Path, express: bool, stream: bool
) -> None:
    async with stack(tmp_path, express=express) as s:
        engine = Engine(s)
        answers_of(s, killer=DYING)
        for _ in range(2):
            assert (await ask(s, "other"))[0] == 200
            assert (await ask(s, "killer", stream=stream))[0] == 500
            engine.dies()
        status, text = await ask(s, "killer", stream=stream)
        assert (status, times_sent(s, "killer")) == (500, 2)
        assert '"code":"engine_killed_by_request"' in text
        assert (await ask(s, "other"))[0] == 200
        await s.at_rest()
        counted = {key: value for key, value in s.samples().items() if "code=engine_killed_by_request" in key}
        assert [*counted.values()] == [1]


@both_ways
async def test_innocents_beside_it_are_sent_again_one_at_a_time_and_cleared(
    tmp_path: Path, express: bool
) -> None:
    names = ["killer", "one", "two", "three"]
    async with stack(tmp_path, express=express) as s:
        engine = Engine(s)
        answers_of(s, **dict.fromkeys(names, DYING))
        await asyncio.gather(*(ask(s, name) for name in names))
        engine.dies()
        held = {name: asyncio.Event() for name in names}
        answers_of(s, **{name: Answer(hold_head=held[name]) for name in names})
        again = [asyncio.create_task(ask(s, name)) for name in names]
        for number in range(1, len(names) + 1):
            await s.engine.until(lambda: sum(times_sent(s, name) == 2 for name in names) == number)  # noqa: B023
            assert (await ask(s, f"fresh {number}"))[0] == 200  # whom it does not concern does not wait
            sent = [name for name in names if times_sent(s, name) == 2]
            assert len(sent) == number
            held[next(name for name in sent if not held[name].is_set())].set()
        assert [status for status, _ in await asyncio.gather(*again)] == [200] * len(names)
        assert not s.gateway.guard.watches()
        await s.at_rest()


@both_ways
async def test_a_stream_that_ends_with_the_engines_error_was_with_it(tmp_path: Path, express: bool) -> None:
    event = (
        b'data: {"error": {"message": "EngineCore encountered an issue.", "code": 500}}\n\ndata: [DONE]\n\n'
    )
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: %d\r\n\r\n" % len(event)
    async with stack(tmp_path, express=express) as s:
        engine = Engine(s)
        answers_of(s, killer=Answer(raw=head + event))
        for _ in range(2):
            assert (await ask(s, "other"))[0] == 200
            assert (await ask(s, "killer", stream=True))[0] == 200
            engine.dies()
        assert (await ask(s, "killer", stream=True))[0] == 500


@both_ways
async def test_a_connection_that_breaks_counts_as_being_with_it(tmp_path: Path, express: bool) -> None:
    async with stack(tmp_path, express=express) as s:
        engine = Engine(s)
        answers_of(s, killer=Answer(raw=b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{"))
        for _ in range(2):
            assert (await ask(s, "other"))[0] == 200
            assert (await ask(s, "killer"))[0] == 502
            engine.dies()
        assert (await ask(s, "killer"))[0] == 500


@both_ways
@pytest.mark.parametrize("blame", ["nobody", "memory"])
async def test_an_engine_that_something_else_ended_refuses_nobody(
    tmp_path: Path, express: bool, blame: Blame
) -> None:
    async with stack(tmp_path, express=express) as s:
        engine = Engine(s)
        for _ in range(3):
            answers_of(s, long=DYING)
            assert (await ask(s, "long"))[0] == 500
            engine.dies(blame)
        answers_of(s)
        assert (await ask(s, "long"))[0] == 200


@both_ways
async def test_failures_of_an_engine_that_lives_refuse_nobody(tmp_path: Path, express: bool) -> None:
    async with stack(tmp_path, express=express) as s:
        answers_of(s, bad=DYING)
        for _ in range(6):
            assert (await ask(s, "bad"))[0] == 500
        assert times_sent(s, "bad") == 6


async def test_deaths_are_heard_from_the_control_plane(tmp_path: Path) -> None:
    async with stack(tmp_path) as s:
        answers_of(s, killer=DYING)
        guard = s.gateway.guard
        for number in (1, 2):
            assert (await ask(s, "killer"))[0] == 500
            body = next(one.body for one in s.engine.completions if b"killer" in one.body)
            death = EngineDeath(f"engine-0 of {number:.3f}", "request")
            write_report(
                s.gateway.replicas.config,
                url=s.engine.url,
                state="ready",
                started_at=number + 1.0,
                last_death=death,
            )
            await eventually(lambda: (tmp_path / "suspects.json").exists())
            await eventually(lambda: s.gateway.replicas.snapshot.engines[0].last_death == death)  # noqa: B023
        with pytest.raises(EngineKilled):
            guard.verdict((body,))


async def test_a_client_that_leaves_in_its_turn_gives_it_back(tmp_path: Path) -> None:
    async with stack(tmp_path) as s:
        engine = Engine(s)
        answers_of(s, one=DYING, two=DYING)
        await asyncio.gather(ask(s, "one"), ask(s, "two"))
        engine.dies()
        answers_of(s, one=Answer(hold_head=asyncio.Event()))
        leaving = asyncio.create_task(ask(s, "one"))
        await s.engine.until(lambda: s.engine.active == 1)
        waiting = asyncio.create_task(ask(s, "two"))
        leaving.cancel()
        assert (await waiting)[0] == 200
        await s.at_rest()


async def test_a_batchs_line_that_is_sent_no_more_is_its_own_error_at_once() -> None:
    asked: list[str] = []

    class Engines:
        async def until_servable(self, model: str) -> None: ...

    class Keys:
        def named(self, owner: str) -> str:
            return owner

    async def refuse(path: str, body: bytes, principal: object, request_id: str, fields: object) -> Answered:
        asked.append(request_id)
        return Answered(500, b'{"error":{"code":"engine_killed_by_request"}}', request_id)

    attempts = Attempts(refuse, Keys(), Engines())  # type: ignore[arg-type]
    line = RequestLine("a", "base", b"{}", False)
    answer = await attempts.answer("/v1/completions", line, "somebody", "batch-1")
    assert (answer.status, asked) == (500, ["batch-1"])
