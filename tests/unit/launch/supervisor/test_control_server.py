"""The control API's end: who still waits is told, and no stream is left half said."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.config.snapshot import SOCKET
from gateway.errors import ConfigError
from launch.supervisor.control_server import Ending, control_socket

pytestmark = pytest.mark.anyio
SCOPE: Scope = {"type": "http", "method": "POST", "path": "/adapters", "headers": [], "query_string": b""}
START: Message = {"type": "http.response.start", "status": 200, "headers": []}


async def cancelled(app: ASGIApp, *, stuck: bool = False) -> list[Message]:
    """What a client gets of an application that is cancelled while it waits."""
    sent: list[Message] = []
    ended = asyncio.Event()

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        if ended.is_set() and stuck:
            await asyncio.Event().wait()
        sent.append(message)

    running = asyncio.create_task(_call(Ending(app), receive, send))
    await asyncio.sleep(0)
    ended.set()
    running.cancel()
    async with asyncio.timeout(5):
        await running
    return sent


async def _call(app: ASGIApp, receive: Receive, send: Send) -> None:
    await app(SCOPE, receive, send)


async def _waits(_: Scope, __: Receive, ___: Send) -> None:
    await asyncio.Event().wait()


async def _streams(_: Scope, __: Receive, send: Send) -> None:
    await send(START)
    await send({"type": "http.response.body", "body": b"\n", "more_body": True})
    await asyncio.Event().wait()


async def _has_answered(_: Scope, __: Receive, send: Send) -> None:
    await send(START)
    await send({"type": "http.response.body", "body": b"{}"})
    await asyncio.Event().wait()


async def test_waiting_request_is_refused() -> None:
    start, body = await cancelled(_waits)
    assert start["status"] == 503
    error = json.loads(body["body"])["error"]
    assert (error["code"], "nothing has changed" in error["message"]) == ("control_plane_gone", True)


async def test_stream_is_ended() -> None:
    *_, last = await cancelled(_streams)
    assert not last["body"]
    assert not last.get("more_body")


async def test_whole_answer_is_left_alone() -> None:
    assert len(await cancelled(_has_answered)) == 2


async def test_client_that_reads_nothing_holds_nothing_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("launch.supervisor.control_server.LAST_WORD_S", 0.01)
    assert await cancelled(_waits, stuck=True) == []


def test_what_is_in_the_way_of_the_socket_is_named(tmp_path: Path) -> None:
    (tmp_path / SOCKET).mkdir()
    with pytest.raises(ConfigError, match=r"control\.sock: cannot be bound"), control_socket(tmp_path):
        pass
