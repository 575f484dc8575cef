"""Requests at their own times, against a mock with seats."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable

import pytest
import uvloop

from launch.bench.overhead import payload
from launch.bench.overhead.mock_engine import Connection, MockEngine
from launch.bench.overload.load import LEFT, Asking, OpenLoop, Outcome, arrivals


def test_arrivals_are_so_many_a_second_at_random_and_the_same_again() -> None:
    found = arrivals(random.Random(1), 50.0, 100.0)
    assert 4700 <= len(found) <= 5300
    assert found == sorted(found)
    assert 0 < found[0] < found[-1] < 100
    assert found == arrivals(random.Random(1), 50.0, 100.0)
    assert arrivals(random.Random(1), 0.0, 100.0) == []


def asking(name: str, per_s: float) -> Asking:
    return Asking(name, {}, lambda _: payload.chat_body(stream=True, tokens=2), per_s)


async def on_mock(pace: bytes, ask: Callable[[str], Awaitable[list[Outcome]]]) -> list[Outcome]:
    engine = MockEngine(tasks=3)
    engine.set_pace(pace)
    server = await asyncio.get_running_loop().create_server(lambda: Connection(engine), "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}{payload.CHAT_PATH}"
    try:
        return await ask(url)
    finally:
        server.close()


def test_every_request_has_an_outcome_and_who_waits_too_long_leaves() -> None:
    quick = b'{"first_ms": 0, "interval_ms": 1, "seats": 1}'
    found = asyncio.run(
        on_mock(quick, lambda url: OpenLoop(url, 60.0).run([asking("a", 100), asking("b", 50)], 0.2, "seed"))
    )
    assert {one.status for one in found} == {200}
    assert {one.name for one in found} == {"a", "b"}
    assert all(0 <= one.due_s < 0.2 and 0 < one.first_s <= one.ended_s for one in found)
    never = b'{"first_ms": 1e6, "interval_ms": 1, "seats": 1}'
    gone = asyncio.run(on_mock(never, lambda url: OpenLoop(url, 0.01).run([asking("a", 100)], 0.1, "seed")))
    assert Counter(one.status for one in gone) == {LEFT: len(gone)}


def test_a_closed_loop_has_so_many_at_once() -> None:
    quick = b'{"first_ms": 0, "interval_ms": 1, "seats": 3}'
    found = asyncio.run(
        on_mock(quick, lambda url: OpenLoop(url, 60.0).closed(asking("a", 0), 3, 0.05, "seed"))
    )
    assert len(found) >= 3
    assert {one.status for one in found} == {200}


def test_an_engine_that_is_not_there_is_no_answer() -> None:
    found = asyncio.run(OpenLoop("http://127.0.0.1:1/v1", 5.0).run([asking("a", 100)], 0.05, "seed"))
    assert all(one.status not in (200, LEFT) for one in found)
    assert found


@pytest.mark.parametrize("status", [429, 503])
def test_a_refusal_is_its_status(status: int) -> None:
    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 %d Full\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}" % status)
        await writer.drain()
        writer.close()

    async def ask() -> list[Outcome]:
        server = await asyncio.start_server(refuse, "127.0.0.1", 0)
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
        found = await OpenLoop(url, 30.0).run([asking("a", 100)], 0.05, "seed")
        server.close()
        return found

    assert {one.status for one in asyncio.run(ask())} == {status}


def test_requests_are_sent_again_at_the_times_they_had() -> None:
    quick = b'{"first_ms": 0, "interval_ms": 1, "seats": 8}'
    due = [(at_s, asking(name, 0), random.Random(1)) for at_s, name in ((0.0, "a"), (0.02, "b"), (0.03, "a"))]
    found = asyncio.run(on_mock(quick, lambda url: OpenLoop(url, 60.0).replay(due)))
    assert sorted((round(one.due_s, 3), one.name) for one in found) == [(0.0, "a"), (0.02, "b"), (0.03, "a")]
    assert {one.status for one in found} == {200}


def test_no_request_is_sent_before_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """uvloop counts whole milliseconds, and rounds them."""
    early_s: list[float] = []

    async def ask(_loop: OpenLoop, _asking: Asking, _chance: random.Random, due: float) -> None:
        early_s.append(due - time.perf_counter())

    monkeypatch.setattr(OpenLoop, "_ask", ask)
    due = [(0.0003 * number, asking("a", 0), random.Random(1)) for number in range(1, 50)]
    uvloop.run(OpenLoop("http://127.0.0.1:1/v1", 60.0).replay(due))
    assert len(early_s) == 49
    assert max(early_s) <= 0
