"""Clients that behave badly: they cost what they hold themselves, and no more."""

from __future__ import annotations

import asyncio
import json

import pytest

from tests.faults.conftest import Note
from tests.faults.processes import Served, beside, soon
from tests.faults.promises import median_ms

pytestmark = pytest.mark.anyio
SLOW_CLIENTS = 100
STREAMS = 30
UNREAD = 8
MOST_UNREAD_MIB = 32
"""Of 8 clients: some 2 MiB each in buffers on the way. Without an end of it, it would be gigabytes."""


async def test_a_client_that_never_reads_is_held_back_at_its_engine(s: Served, note: Note) -> None:
    before = s.gateway.resident_mib()
    idle = [await s.open("flood", stream=True) for _ in range(UNREAD)]
    sent = [-1, 0]

    async def stands_still() -> bool:
        await s.health()  # the gateway has had a turn: else it is only not there yet
        sent.append((await s.told())["flooded_bytes"])
        return sent[-1] == sent[-2] == sent[-3] > 0

    await soon(stands_still)
    async with beside(s) as times:
        for _ in range(20):
            await s.good()
    grown = s.gateway.resident_mib() - before
    assert grown < MOST_UNREAD_MIB
    for _, writer in idle:
        writer.transport.abort()
    note(
        "who reads nothing holds its engine back",
        load="4 clients",
        fault=f"{UNREAD} endless streams, unread",
        outcome="engine waits, others right",
        figure=f"{grown:.0f} MiB more; {median_ms(times())}",
    )


async def test_streams_that_are_dropped_together_are_aborted_at_the_engine(s: Served, note: Note) -> None:
    before = await s.told()
    await s.held(STREAMS)
    async with beside(s) as times:
        for writer in s.writers:
            writer.transport.abort()

        async def aborted() -> bool:
            return (await s.told())["aborts"] - before["aborts"] == STREAMS

        await soon(aborted)
    await s.at_rest()
    note(
        "who leaves frees everything",
        load="4 clients",
        fault=f"{STREAMS} streams dropped at once",
        outcome="all aborted at the engine",
        figure=median_ms(times()),
    )


@pytest.mark.parametrize(
    ("what", "begun"),
    [
        ("head", b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nx-slow: "),
        ("body", b'POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 4096\r\n\r\n{"model":'),
    ],
    ids=["head", "body"],
)
async def test_a_request_that_drips_in_has_its_time_and_no_more(
    s: Served, note: Note, what: str, begun: bytes
) -> None:
    async def drip() -> bytes:
        reader, writer = await s.connect()
        writer.write(begun)
        answer = asyncio.create_task(reader.read())
        while not answer.done():
            writer.write(b"x")
            await asyncio.wait((answer,), timeout=0.1)
        return answer.result()

    async with beside(s) as times:
        told = await asyncio.gather(*(drip() for _ in range(SLOW_CLIENTS)))
    for answer in told:
        assert answer.startswith(b"HTTP/1.1 408 ")
        assert json.loads(answer.partition(b"\r\n\r\n")[2])["error"]["type"] == "timeout"
    note(
        "a request has a bounded time to arrive",
        load="4 clients",
        fault=f"{SLOW_CLIENTS} clients drip a {what}",
        outcome="408 for each, others right",
        figure=median_ms(times()),
    )
