"""The mock engine and the load's own client."""

from __future__ import annotations

import asyncio

import pytest

from launch.bench.overhead import payload
from launch.bench.overhead.mock_engine import Connection, MockEngine
from launch.bench.overhead.stream_load import connect, request_bytes, run
from tests.support.waiting import eventually

pytestmark = pytest.mark.anyio


async def _with_mock(pace: bytes) -> tuple[dict[str, object], int, bytes]:
    engine = MockEngine(tasks=3)
    engine.set_pace(pace)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Connection(engine), "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}{payload.CHAT_PATH}"
    try:
        tally = await run(url, {}, connections=3, tokens=5, seconds=0.2, spread_s=0)
        client = await connect(url)
        whole = await client.ask(request_bytes(url, payload.chat_body(), {}))
        client.transport.close()
        return tally, engine.open_streams, whole
    finally:
        server.close()
        await server.wait_closed()


@pytest.mark.parametrize("pace", [b'{"first_ms": 0, "interval_ms": 0}', b'{"first_ms": 1, "interval_ms": 1}'])
def test_mock_and_client_agree(pace: bytes) -> None:
    tally, open_streams, whole = asyncio.run(_with_mock(pace))
    streams = tally["streams"]
    assert isinstance(streams, int)
    assert streams >= 3
    assert tally["chunks"] == streams * 5
    assert (tally["wrong_chunks"], tally["failed_streams"], open_streams) == (0, 0, 0)
    assert whole == payload.completion_body()


async def test_streams_beyond_its_seats_wait_in_turn_and_one_that_leaves_is_forgotten() -> None:
    engine = MockEngine(tasks=3)
    engine.set_pace(b'{"first_ms": 0, "interval_ms": 1e6, "seats": 2}')
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Connection(engine), "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}{payload.CHAT_PATH}"
    asked = request_bytes(url, payload.chat_body(stream=True, tokens=2), {})
    clients = [await connect(url) for _ in range(5)]

    async def shows(running: int, waiting: int) -> None:
        counts = b'_running{engine="0"} %d\n', b'_waiting{engine="0"} %d\n'
        await eventually(
            lambda: counts[0] % running in engine.load() and counts[1] % waiting in engine.load()
        )

    for number, client in enumerate(clients):
        client.transport.write(asked)
        await shows(min(number + 1, 2), max(0, number - 1))
    clients[4].transport.close()
    await shows(2, 2)
    clients[0].transport.close()
    await shows(2, 1)
    for client in clients:
        client.transport.close()
    await shows(0, 0)
    server.close()
