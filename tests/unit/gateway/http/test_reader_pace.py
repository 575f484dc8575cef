"""A client that takes its answer too slowly is cut off, and no other."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterable
from typing import Any

import pytest
import uvicorn
from starlette.types import Receive, Scope, Send
from uvicorn.server import ServerState

from gateway.http.client_connection import GatewayProtocol
from gateway.http.reader_pace import LEAST_BYTES_PER_S, ReaderPace
from tests.fakes.virtual_time import passed, virtual

LOOK_S = 75.0
LEAST_S = 60.0


def cut_off_at(size: int, bytes_per_s: float, *, whole: bool = True) -> float | None:
    """When a client that takes so much a second is cut off; None where it gets everything, or a day."""
    pace, now = ReaderPace(size, 0.0, LEAST_S), 1.0
    while size - bytes_per_s * now > 0 and now < 86_400:
        look_s = pace.next_look_s(int(size - bytes_per_s * now), now, LOOK_S, whole=whole)
        if look_s is None:
            return now
        now += look_s
    return None


@pytest.mark.parametrize("size", [100_000, 1_000_000, 30_000_000])
@pytest.mark.parametrize("bytes_per_s", [0.0, 1.0, 400.0, 0.9 * LEAST_BYTES_PER_S])
def test_a_whole_answer_that_is_dripped_out_is_cut_off(size: int, bytes_per_s: float) -> None:
    if size <= bytes_per_s * LEAST_S:
        assert cut_off_at(size, bytes_per_s) is None  # a small one has the least time
    else:
        ended = cut_off_at(size, bytes_per_s)
        assert ended is not None
        assert ended <= max(LEAST_S, size / LEAST_BYTES_PER_S) + 0.001


@pytest.mark.parametrize("size", [1, 70_000, 1_000_000, 256_000_000])
@pytest.mark.parametrize("times", [1.1, 3, 1000])
def test_one_that_keeps_the_pace_gets_everything(size: int, times: float) -> None:
    assert cut_off_at(size, times * LEAST_BYTES_PER_S) is None


def test_a_stream_goes_on_as_long_as_something_is_taken() -> None:
    assert cut_off_at(1_000_000, 10.0, whole=False) is None
    assert cut_off_at(1_000_000, 0.0, whole=False) is not None


class Dripping(asyncio.Transport):
    """A client that takes so many bytes a second of what is written."""

    def __init__(self, protocol: GatewayProtocol, bytes_per_s: float) -> None:
        super().__init__()
        self._protocol = protocol
        self._bytes_per_s = bytes_per_s
        self._written = 0
        self._closing = False
        self.closed = asyncio.Event()
        self.closed_at: float | None = None

    def write(self, data: Any) -> None:
        self._written += len(data)
        self._protocol.pause_writing()

    def writelines(self, list_of_data: Iterable[Any]) -> None:
        self.write(b"".join(list_of_data))

    def _taken(self) -> int:
        return int(self._bytes_per_s * self._protocol.loop.time())

    def get_write_buffer_size(self) -> int:
        return max(0, self._written - self._taken())

    def goes_with(self, unsent_bytes: int) -> None:
        """It is to be closed once so much is taken."""
        self._written = self._taken() + unsent_bytes
        self._closing = True

    def close(self) -> None:
        self._closing = True

    def is_closing(self) -> bool:
        return self._closing or self.closed_at is not None

    def abort(self) -> None:
        self.closed_at = self._protocol.loop.time()
        self.closed.set()

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass


async def large(scope: Scope, receive: Receive, send: Send) -> None:
    head = [(b"content-length", b"1000000")]
    await send({"type": "http.response.start", "status": 200, "headers": head})
    await send({"type": "http.response.body", "body": b"x" * 1_000_000})


@virtual
async def test_a_connection_that_is_dripped_out_is_closed_in_minutes() -> None:
    config = uvicorn.Config(large, lifespan="off", timeout_keep_alive=75, log_level="critical")
    protocol = GatewayProtocol(config, ServerState(), {})
    transport = Dripping(protocol, bytes_per_s=400)
    protocol.connection_made(transport)
    protocol.data_received(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
    async with asyncio.timeout(3600):
        await transport.closed.wait()
    protocol.connection_lost(None)
    assert transport.closed_at is not None
    assert 1_000_000 / LEAST_BYTES_PER_S <= transport.closed_at <= 1_000_000 / LEAST_BYTES_PER_S + 1


@virtual
async def test_the_end_of_an_answer_has_its_own_time_though_an_earlier_one_was_taken_slowly() -> None:
    config = uvicorn.Config(large, lifespan="off", timeout_keep_alive=5, log_level="critical")
    protocol = GatewayProtocol(config, ServerState(), {})
    transport = Dripping(protocol, bytes_per_s=9000)
    protocol.connection_made(transport)
    transport.write(b"x" * 100_000)
    await passed(12)
    protocol.resume_writing()
    protocol._deadline = math.inf  # as while an engine is asked
    await passed(1000)
    transport.goes_with(50_000)
    protocol._close()
    await passed(5.5)
    assert not transport.closed.is_set()
    protocol.connection_lost(None)
