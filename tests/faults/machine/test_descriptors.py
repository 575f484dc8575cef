"""The limit of open descriptors met by a real process: nobody is dropped without a word."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.faults.conftest import Note
from tests.faults.processes import served

pytestmark = pytest.mark.anyio
LIMIT = 64
CLIENTS = 200


async def outcome(reader: asyncio.StreamReader) -> str:
    """`served` once it has begun, or the status and whether it says when to come again."""
    head = await reader.readuntil(b"\r\n\r\n")
    status = head.split(b" ", 2)[1].decode()
    if status == "200":
        await reader.readuntil(b' a"')
        return "served"
    body = await reader.read()
    assert b'"code":"overloaded"' in body
    assert b"ulimit -n" in body
    assert b"retry-after: 1\r\n" in head
    return status


async def test_clients_beyond_the_limit_are_told_and_the_others_go_on(tmp_path: Path, note: Note) -> None:
    async with served(tmp_path, {"descriptors": LIMIT}) as s:
        s.gateway.until_said(f"the limit of open descriptors is {LIMIT}")
        clients = [await s.open("held a b c", stream=True) for _ in range(CLIENTS)]
        outcomes = await asyncio.gather(*(outcome(reader) for reader, _ in clients))
        within = outcomes.count("served")
        assert {*outcomes} == {"served", "503"}
        assert within >= 8
        assert s.gateway.descriptors() < LIMIT
        await s.told(go=True)
        for (reader, writer), found in zip(clients, outcomes, strict=True):
            if found == "served":
                assert b"data: [DONE]" in await reader.readuntil(b"[DONE]\n\n")
            writer.transport.abort()
        for _ in range(CLIENTS):
            await s.good()
        await s.at_rest()
    note(
        "the limit of descriptors drops nobody",
        load=f"{CLIENTS} clients",
        fault=f"ulimit -n {LIMIT}",
        outcome="503 with Retry-After, the others served",
        figure=f"{within} served, {CLIENTS - within} told",
    )


async def test_idle_connections_end_for_those_who_come(tmp_path: Path, note: Note) -> None:
    async with served(tmp_path, {"descriptors": LIMIT}) as s:
        for number in range(CLIENTS):
            reader, _ = await s.open(f"echo {number}")
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 ")
        assert "told to come again" not in s.gateway.said()
    note(
        "the limit of descriptors drops nobody",
        load=f"{CLIENTS} idle clients",
        fault=f"ulimit -n {LIMIT}",
        outcome="idle ones are closed, all served",
    )
