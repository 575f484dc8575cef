"""Clients that leave at any moment, and a gateway that is told to stop: nothing is left, nothing is lost."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import yaml

from tests.fakes.fake_engine import Answer, Document, FakeEngine
from tests.support.stack import Stack, config_of, eventually, stack, write_report
from tests.support.waiting import turns

pytestmark = pytest.mark.anyio
REQUESTS = 1000
AT_ONCE = 80
KINDS = ("head", "body", "soon", "reading", "stay")
WEIGHTS = (10, 15, 35, 30, 10)
CONCEPTS = json.dumps({"concepts": [{"definition": str(i), "members": ["a"]} for i in range(4)]})
SKETCH = [CONCEPTS[i : i + 9] for i in range(0, len(CONCEPTS), 9)]


class Pace:
    """The engine goes on one step at a time, at one random place after another: time is the loop's turns."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self._held: list[asyncio.Event] = []

    def hold(self) -> asyncio.Event:
        event = asyncio.Event()
        self._held.append(event)
        return event

    def answer(self, tokens: list[str]) -> Answer:
        held = {index: self.hold() for index in range(len(tokens)) if self._chance.random() < 0.3}
        return Answer(tokens, hold_head=self.hold() if self._chance.random() < 0.5 else None, hold_token=held)

    async def run(self) -> None:
        while True:
            if self._held:
                self._held.pop(self._chance.randrange(len(self._held))).set()
            await asyncio.sleep(0)


def request(chance: random.Random) -> tuple[bytes, int]:
    """A request and the length of its head."""
    asked: Document = {
        "model": chance.choice(["base", "naming", "concept", "concept-naming"]),
        "messages": [{"role": "user", "content": "cat"}],
        "user": "x" * chance.choice([0, 10, 200_000]),
    }
    if chance.random() < 0.6:
        asked["stream"] = True
    body = json.dumps(asked).encode()
    head = (
        "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nconnection: close\r\n"
        f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    ).encode()
    return head + body, len(head)


async def flushed(writer: asyncio.StreamWriter) -> None:
    """Until the kernel has all of it: only then was it sent."""
    writer.transport.set_write_buffer_limits(0)
    await writer.drain()


class Crowd:
    """Clients that leave as their kind does, and how many of each there were."""

    def __init__(self, s: Stack, seed: int) -> None:
        self._port = s.port
        self._chance = random.Random(seed)
        self._room = asyncio.Semaphore(AT_ONCE)
        self.sent: Counter[str] = Counter()

    async def visit(self) -> None:
        async with self._room:
            chance = self._chance
            kind = chance.choices(KINDS, WEIGHTS)[0]
            data, head_bytes = request(chance)
            reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
            self.sent[kind] += 1
            try:
                if kind == "head":
                    writer.write(data[: chance.randrange(head_bytes)])
                elif kind == "body":
                    writer.write(data[: chance.randrange(head_bytes, len(data))])
                else:
                    writer.write(data)
                    await flushed(writer)
                await self._wait(kind, reader)
            finally:
                writer.transport.abort()

    async def _wait(self, kind: str, reader: asyncio.StreamReader) -> None:
        if kind == "stay":
            answer = await reader.read()
            assert answer.startswith(b"HTTP/1.1 200 OK"), answer[:500]
            assert answer.endswith((b"}", b"[DONE]\n\n\r\n0\r\n\r\n")), answer[-200:]
        elif kind == "reading":
            wanted = self._chance.choice([1, 300, 600, 1200, 100_000])
            while wanted > 0 and (piece := await reader.read(wanted)):
                wanted -= len(piece)
        else:
            await turns(self._chance.choice([0, 1, 2, 3, 5, 10, 30, 100]))


def tasks() -> set[asyncio.Task[object]]:
    """All but the engine's, one for each connection that is kept, and those that batches begin."""
    others = ("FakeEngine", "Runner.", "Lease.")
    return {task for task in asyncio.all_tasks() if not any(name in repr(task.get_coro()) for name in others)}


def total(samples: dict[tuple[str, ...], float], *parts: str) -> float:
    return sum(value for key, value in samples.items() if all(part in key for part in parts))


@pytest.mark.parametrize(("seed", "express"), [(1, True), (2, True), (3, False)])
async def test_clients_that_leave_at_any_moment_leave_nothing(
    tmp_path: Path, seed: int, express: bool
) -> None:
    async with stack(
        tmp_path, express=express, max_in_flight=30, max_waiting=2000, max_waiting_per_task=2000
    ) as s:
        pace = Pace(random.Random(seed))
        s.engine.answers["concept@aaaaaaaaaaaa"] = lambda _: pace.answer(SKETCH)
        s.engine.answers["naming@bbbbbbbbbbbb"] = lambda _: pace.answer(['"', "na", "me", '"'])
        s.engine.answers["base"] = lambda _: pace.answer(["Par", "is"])
        before = tasks()
        crowd = Crowd(s, seed)
        pacing = asyncio.create_task(pace.run())
        async with asyncio.timeout(60):
            await asyncio.gather(*(crowd.visit() for _ in range(REQUESTS)))
            await s.at_rest()
        pacing.cancel()
        await asyncio.gather(pacing, return_exceptions=True)
        await eventually(lambda: not s.server.connections)
        await eventually(lambda: tasks() <= before)
        admission = s.gateway.admission
        assert (admission.in_flight, admission.waiting, s.engine.active) == (0, 0, 0)
        samples = s.samples()
        gauges = {
            key: value for key, value in samples.items() if "_in_flight" in key[0] or "_waiting" in key[0]
        }
        assert len(gauges) > 6
        assert not any(gauges.values())
        whole = crowd.sent["soon"] + crowd.sent["reading"] + crowd.sent["stay"]
        counted = total(samples, "requests_total", "origin=client")
        assert whole <= counted <= whole + crowd.sent["body"]
        assert total(samples, "requests_total", "origin=client", "status=200") >= crowd.sent["stay"]
        named = counted - total(samples, "requests_total", "origin=client", "task=")
        assert named <= whole
        left = total(samples, "requests_total", "status=499")
        assert left == total(samples, "cancellations_total")
        assert left > 100
        assert not total(samples, "errors_total")
        assert s.engine.aborts > 20
        s.engine.answers.clear()
        assert (await s.client.get("/ready")).status_code == 200


@asynccontextmanager
async def process(folder: Path, engine: FakeEngine, workers: int) -> AsyncIterator[tuple[int, int]]:
    """`python -m gateway` before an engine: its port and its process id. It must end with exit code 0."""
    config = config_of(folder, workers=workers)
    write_report(config, url=engine.url, state="ready", started_at=1.0)
    file = folder / "config.yaml"
    document = config.model_dump(mode="json", by_alias=True)
    file.write_text(yaml.safe_dump(document))
    started = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "gateway", "--config", str(file), "--port", "0", "--state-dir", str(folder)),
        stderr=asyncio.subprocess.PIPE,
    )
    assert started.stderr is not None
    try:
        async with asyncio.timeout(30):
            await started.stderr.readuntil(b"listening on http://127.0.0.1:")
            yield int(await started.stderr.readuntil(b" ")), started.pid
            said = await started.stderr.read()
            assert await started.wait() == 0, said.decode()
            assert b"Traceback" not in said, said.decode()
    finally:
        if started.returncode is None:
            started.kill()
            await started.wait()


async def post(port: int, **fields: object) -> bytes:
    """A chat on a connection of its own; everything that comes back."""
    body = json.dumps({"model": "base", "messages": [], **fields}).encode()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(
            b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nconnection: close\r\n"
            b"content-length: %d\r\n\r\n" % len(body)
        )
        writer.write(body)
        return await reader.read()
    finally:
        writer.transport.abort()


@pytest.mark.parametrize("workers", [1, 2])
async def test_sigterm_lets_accepted_requests_finish(tmp_path: Path, workers: int) -> None:
    engine = FakeEngine()
    await engine.start()
    hold = asyncio.Event()
    engine.answers["base"] = lambda asked: Answer(
        ["a", "b", "c"], hold_token={1: hold} if asked.get("stream") else {0: hold}
    )
    async with process(tmp_path, engine, workers) as (port, pid):
        streams = [asyncio.create_task(post(port, stream=True)) for _ in range(40)]
        wholes = [asyncio.create_task(post(port)) for _ in range(40)]
        idle = await asyncio.open_connection("127.0.0.1", port)
        await engine.until(lambda: engine.active == 80, 20)
        os.kill(pid, signal.SIGTERM)
        while not (told := await post(port, model="none")).startswith(b"HTTP/1.1 503 "):
            assert told.startswith(b"HTTP/1.1 404 ")  # the signal was not heard yet
        assert b"\r\nretry-after: " in told
        assert engine.active == 80
        hold.set()
        for answer in await asyncio.gather(*streams):
            assert answer.startswith(b"HTTP/1.1 200 OK")
            assert answer.endswith(b"data: [DONE]\n\n\r\n0\r\n\r\n")
            assert answer.count(b"data: ") == 4
        for answer in await asyncio.gather(*wholes):
            assert answer.startswith(b"HTTP/1.1 200 OK")
            assert json.loads(answer.partition(b"\r\n\r\n")[2])["choices"][0]["message"]["content"] == "abc"
        assert await idle[0].read() == b""
        idle[1].close()
    assert engine.aborts == 0
    await engine.stop()
