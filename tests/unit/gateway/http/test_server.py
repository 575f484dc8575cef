"""How a process ends: what it accepted is answered, what comes is told to go elsewhere, none is refused."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn

from gateway.admission.quotas.account_book import AccountBook
from gateway.app import Gateway
from gateway.http.server import Server, protocol_with
from gateway.http.workers import listen
from gateway.metrics.ledger import REQUESTS
from gateway.usage.database import read_usage
from tests.fakes.fake_engine import Answer, FakeEngine
from tests.support.stack import TASKS, config_of, write_report
from tests.support.waiting import CLIENT_S, eventually

pytestmark = pytest.mark.anyio
MESSAGES = [{"role": "user", "content": "cat"}]
ASKED: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {"model": "naming", "messages": MESSAGES},
    "/v1/completions": {"model": "naming", "prompt": "cat"},
    "/v1/messages": {"model": "naming", "messages": MESSAGES, "max_tokens": 9},
    "/v1/responses": {"model": "naming", "input": "cat"},
}


@dataclass
class Ending:
    engine: FakeEngine
    gateway: Gateway
    server: Server
    port: int
    client: httpx.AsyncClient
    listeners: list[Any]

    def ask(self, path: str = "/v1/chat/completions", **fields: Any) -> asyncio.Task[httpx.Response]:
        return asyncio.create_task(self.client.post(path, json=ASKED[path] | fields))

    async def at_the_engine(self, count: int) -> None:
        await self.engine.until(lambda: self.engine.active == count)

    def end(self) -> asyncio.Task[None]:
        return asyncio.create_task(self.server.shutdown(self.listeners))


@asynccontextmanager
async def serving(
    folder: Path, timeout_s: float = 30, express: bool = True, **bounds: Any
) -> AsyncIterator[Ending]:
    engine = FakeEngine()
    config = config_of(folder, **bounds)
    write_report(config, url=await engine.start(), state="ready", started_at=1.0)
    gateway = Gateway(config)
    paths = gateway.express if express else None
    settings = uvicorn.Config(
        gateway,
        http=protocol_with(30, paths, drain=gateway.drain),
        lifespan="on",
        log_level="warning",
        timeout_graceful_shutdown=timeout_s,  # type: ignore[arg-type]
    )
    settings.load()
    server = Server(settings, gateway.drain)
    server.lifespan = settings.lifespan_class(settings)
    listeners = listen("127.0.0.1", 0, 1)
    port = listeners[0].getsockname()[1]
    await server.startup(listeners)
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=CLIENT_S) as client:
            yield Ending(engine, gateway, server, port, client, listeners)
    finally:
        await server.shutdown(listeners)
        await engine.stop()


both_ways = pytest.mark.parametrize("express", [True, False], ids=["express", "task"])
either = pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])


@both_ways
@either
async def test_what_was_accepted_ends_and_what_comes_is_told_to_go_elsewhere(
    tmp_path: Path, stream: bool, express: bool
) -> None:
    async with serving(tmp_path, express=express) as e:
        assert (await e.client.get("/ready")).status_code == 200
        held = e.engine.answers[TASKS["naming"]] = Answer(hold_head=asyncio.Event())
        accepted = [e.ask(stream=stream) for _ in range(3)]
        await e.at_the_engine(3)
        ending = e.end()
        await eventually(lambda: e.gateway.drain.begun)
        for path in ASKED:  # on connections that are kept, and on new ones
            for _ in range(2):
                told = await e.ask(path)
                assert (told.status_code, told.headers["connection"]) == (503, "close")
                assert int(told.headers["retry-after"]) > 0
                error = told.json()["error"]
                assert error["type" if path == "/v1/messages" else "code"] in (
                    "overloaded_error",
                    "shutting_down",
                )
        ready = await e.client.get("/ready")
        assert (ready.status_code, ready.json()["error"]["code"]) == (503, "shutting_down")
        assert (await e.client.get("/health")).status_code == 200
        assert not ending.done()
        assert held.hold_head is not None
        held.hold_head.set()
        assert [(await one).status_code for one in accepted] == [200] * 3
        await ending
        with pytest.raises(httpx.ConnectError):
            await e.client.get("/health")
        assert not e.engine.aborts


async def test_a_large_request_that_is_turned_away_hears_why(tmp_path: Path) -> None:
    async with serving(tmp_path) as e:
        e.engine.answers[TASKS["naming"]] = Answer(hold_head=(held := asyncio.Event()))
        accepted = e.ask()
        await e.at_the_engine(1)
        ending = e.end()
        await eventually(lambda: e.gateway.drain.begun)
        reader, writer = await asyncio.open_connection("127.0.0.1", e.port)
        writer.write(b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 5000000\r\n\r\n")
        for _ in range(50):
            writer.write(b"x" * 100_000)
        told = await reader.read()
        assert told.startswith(b"HTTP/1.1 503 ")
        assert b"shutting_down" in told
        writer.transport.abort()
        held.set()
        assert (await accepted).status_code == 200
        await ending


@both_ways
@pytest.mark.parametrize("path", list(ASKED))
async def test_what_is_not_done_in_time_ends_with_an_error(tmp_path: Path, path: str, express: bool) -> None:
    async with serving(tmp_path, timeout_s=0.01, express=express) as e:
        await e.ask(model="base") if "messages" in ASKED[path] else None  # leaves a kept connection
        never = asyncio.Event()
        e.engine.answers[TASKS["naming"]] = Answer(hold_token={1: never})
        asked = [e.ask(path, stream=True), e.ask(path)]
        await e.at_the_engine(2)
        await e.end()
        streamed, whole = [await one for one in asked]
        assert streamed.status_code == 200
        last = streamed.text.strip().split("\n\n")[-1]
        assert "shutting down" in last
        assert last.startswith("event: error\ndata: " if path in ("/v1/messages",) else ("data: ", "event: "))
        json.loads(last.partition("data: ")[2])
        assert (whole.status_code, int(whole.headers["retry-after"]) > 0) == (503, True)
        assert "shutting down" in whole.json()["error"]["message"]


async def test_what_waits_for_a_place_when_the_time_is_over_is_a_503(tmp_path: Path) -> None:
    async with serving(tmp_path, timeout_s=0.01, max_in_flight=1) as e:
        e.engine.answers[TASKS["naming"]] = Answer(hold_head=asyncio.Event())
        asked = [e.ask() for _ in range(3)]
        await e.at_the_engine(1)
        await eventually(lambda: e.gateway.admission.waiting == 2)
        await e.end()
        assert [(await one).json()["error"]["code"] for one in asked] == ["shutting_down"] * 3
        assert len(e.engine.completions) == 1


async def test_a_client_that_stalls_in_its_request_holds_nothing_up(tmp_path: Path) -> None:
    async with serving(tmp_path) as e:
        _, writer = await asyncio.open_connection("127.0.0.1", e.port)
        writer.write(b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 50\r\n\r\nx")
        await eventually(lambda: bool(e.server.server_state.connections))
        async with asyncio.timeout(20):
            await e.end()
        writer.transport.abort()


@both_ways
@either
async def test_what_is_not_done_in_time_is_counted_and_reserves_nothing_any_more(
    tmp_path: Path, stream: bool, express: bool
) -> None:
    limits = {"tokens_per_day": 1_000_000, "max_in_flight": 9}
    async with serving(tmp_path, timeout_s=0.05, express=express, limits=limits) as e:
        e.engine.answers[TASKS["naming"]] = Answer(hold_token={1: asyncio.Event()})
        accepted = [e.ask(stream=stream, max_tokens=500) for _ in range(2)]
        await e.at_the_engine(2)
        await e.end()
        await asyncio.gather(*accepted, return_exceptions=True)
    book = AccountBook(tmp_path)
    with book.locked():
        row, in_flight = book.read("gateway"), book.in_flight("gateway")
    book.close()
    assert (row[5] < 500, in_flight) == (True, 0)
    (used,) = read_usage(tmp_path, ("task",), "2000-01-01")
    assert used.figures[REQUESTS] == 2
