"""An engine that costs little: vLLM's answers over a bare protocol, at a pace that is set from outside.

`python -m launch.bench.overhead.mock_engine --port P --tasks N`. POST /pace sets, for later streams,
`first_ms` (until the first token) and `interval_ms` (between tokens; 0: as fast as the reader takes them).
A stream has `max_tokens` tokens; from a million on it has no end and comes in blocks, to fill what is on
its way. `seats` bounds the streams that run at once (0: all of them): the others wait their turn, first come
first served, and `/metrics` says in vLLM's names how many run and wait.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import time
from collections import deque
from functools import lru_cache
from typing import cast

import httptools
import uvloop

from launch.bench.overhead import payload

ENDLESS = 1_000_000
BLOCK_CHUNKS = 256
HEAD = (
    b"HTTP/1.1 200 OK\r\nserver: uvicorn\r\ncontent-type: text/event-stream; charset=utf-8\r\n"
    b"transfer-encoding: chunked\r\n\r\n"
)
END = b"0\r\n\r\n"
HIGH_WATER = 64 * 1024  # uvicorn's, under which vLLM's server runs
# Looked for in the bytes, not decoded: the mock shares its core with the load.
_MAX_TOKENS = re.compile(rb'"max_(?:completion_)?tokens"\s*:\s*(\d+)')
_STREAM = re.compile(rb'"stream"\s*:\s*true')
_USAGE = re.compile(rb'"include_usage"\s*:\s*true')


_LOAD = (
    b'vllm:num_requests_running{engine="0"} %d\n'
    b'vllm:num_requests_waiting{engine="0"} %d\n'
    b'vllm:kv_cache_usage_perc{engine="0"} 0.0\n'
    b'vllm:num_preemptions_total{engine="0"} 0.0\n'
)


def http_chunk(data: bytes) -> bytes:
    """One chunk of a chunked body."""
    return b"%x\r\n%s\r\n" % (len(data), data)


def whole(body: bytes, status: bytes = b"200 OK") -> bytes:
    """A whole HTTP answer, head and JSON body, as bytes."""
    head = b"HTTP/1.1 %s\r\nserver: uvicorn\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
    return head % (status, len(body)) + body


@lru_cache(maxsize=64)
def _rest(tokens: int) -> tuple[bytes, ...]:
    return tuple(http_chunk(event) for event in payload.token_events(tokens))


@lru_cache(maxsize=1)
def _block() -> tuple[bytes]:
    return (b"".join(_rest(BLOCK_CHUNKS)),)


class MockEngine:
    """The answers, made once, the pace, and who runs."""

    def __init__(self, tasks: int) -> None:
        self.first_s = 0.05
        self.interval_s = 0.02
        self.completion = whole(payload.completion_body())
        self.models = whole(payload.models_body(payload.task_names(tasks)))
        self.chunks_sent = 0
        self.open_streams = 0
        self.seats = 0
        self._seated: set[Stream] = set()
        self._queue: deque[Stream] = deque()

    def set_pace(self, body: bytes) -> bytes:
        """Take `first_ms`, `interval_ms` and `seats`; answers with what was sent and is open."""
        pace = json.loads(body)
        self.first_s = float(pace.get("first_ms", self.first_s * 1000)) / 1000
        self.interval_s = float(pace.get("interval_ms", self.interval_s * 1000)) / 1000
        self.seats = int(pace.get("seats", self.seats))
        return whole(json.dumps({"chunks": self.chunks_sent, "streams": self.open_streams}).encode())

    def load(self) -> bytes:
        """As vLLM's /metrics tells what runs and what waits."""
        return whole(_LOAD % (len(self._seated), len(self._queue)))

    def came(self, stream: Stream) -> None:
        """A stream takes a seat, or its place in the queue."""
        self.open_streams += 1
        self._queue.append(stream)
        self._seat()

    def left(self, stream: Stream) -> None:
        """A stream has ended, or its client has."""
        self.open_streams -= 1
        if stream in self._seated:
            self._seated.remove(stream)
        else:
            self._queue.remove(stream)
        self._seat()

    def _seat(self) -> None:
        while self._queue and (not self.seats or len(self._seated) < self.seats):
            stream = self._queue.popleft()
            self._seated.add(stream)
            stream.begin()


class Stream:
    """One answer on its way; it writes a token, then waits for the interval or for its next turn."""

    def __init__(self, engine: MockEngine, connection: Connection, body: bytes) -> None:
        asked = _MAX_TOKENS.search(body)
        tokens = int(asked[1]) if asked else 16
        self._endless = tokens >= ENDLESS
        self._tokens = tokens
        self._engine = engine
        self._connection = connection
        self._usage = _USAGE.search(body) is not None
        self._rest: deque[bytes] = deque(_block() if self._endless else _rest(tokens))
        self._began = time.monotonic()
        self._interval_s = engine.interval_s
        self._loop = asyncio.get_running_loop()
        self._waiting = False
        self._next: asyncio.Handle | None = None
        engine.came(self)

    def begin(self) -> None:
        """It has its seat: the first event follows after the time to the first token."""
        self._next = self._loop.call_later(self._engine.first_s, self._first)

    def stop(self) -> None:
        """Write nothing more; the engine no longer counts this stream as open."""
        if self._next is not None:
            self._next.cancel()
        self._engine.left(self)

    def resume(self) -> None:
        """The reader has taken what was written."""
        if self._waiting:
            self._waiting = False
            self._next = self._loop.call_soon(self._token)

    def _first(self) -> None:
        delay_us = int((time.monotonic() - self._began) * 1e6)
        first = payload.token_event(payload.delay_text(delay_us))
        self._connection.transport.write(HEAD + http_chunk(payload.role_event()) + http_chunk(first))
        self._engine.chunks_sent += 1
        self._due = self._loop.time()
        self._schedule()

    def _token(self) -> None:
        self._connection.transport.write(self._rest.popleft())
        self._engine.chunks_sent += BLOCK_CHUNKS if self._endless else 1
        if not self._rest:
            if not self._endless:
                self._finish()
                return
            self._rest.extend(_block())
        self._schedule()

    def _schedule(self) -> None:
        if self._connection.paused:
            self._waiting = True
        elif self._interval_s:
            # From when the last was due, so that late turns do not add up; but none is made up for.
            self._due = max(self._due + self._interval_s, self._loop.time())
            self._next = self._loop.call_at(self._due, self._token)
        else:
            # One token a turn of the loop, so that each stream has its turn.
            self._next = self._loop.call_soon(self._token)

    def _finish(self) -> None:
        usage = http_chunk(payload.usage_event(self._tokens)) if self._usage else b""
        self._connection.transport.write(usage + http_chunk(payload.DONE) + END)
        self._connection.ended(self)


class Connection(asyncio.Protocol):
    """One kept connection; requests come one after the other."""

    transport: asyncio.Transport

    def __init__(self, engine: MockEngine) -> None:
        self._engine = engine
        self._parser = httptools.HttpRequestParser(self)
        self._url = b""
        self._body = bytearray()
        self._stream: Stream | None = None
        self.paused = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's own class, no subclass of it
        self.transport.set_write_buffer_limits(HIGH_WATER)

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def connection_lost(self, error: Exception | None) -> None:
        if self._stream is not None:
            self._stream.stop()
            self._stream = None

    def pause_writing(self) -> None:
        self.paused = True

    def resume_writing(self) -> None:
        self.paused = False
        if self._stream is not None:
            self._stream.resume()

    def ended(self, stream: Stream) -> None:
        """The stream has written its last byte."""
        self._stream = None
        self._engine.left(stream)

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_body(self, body: bytes) -> None:
        self._body += body

    def on_message_complete(self) -> None:
        url, body = self._url, bytes(self._body)
        self._url = b""
        self._body.clear()
        if url.endswith(b"/chat/completions"):
            if _STREAM.search(body):
                self._stream = Stream(self._engine, self, body)
            else:
                self.transport.write(self._engine.completion)
        elif url == b"/v1/models":
            self.transport.write(self._engine.models)
        elif url == b"/pace":
            self.transport.write(self._engine.set_pace(body))
        elif url == b"/metrics":
            self.transport.write(self._engine.load())
        else:
            self.transport.write(whole(b"{}"))  # health checks of every make


async def serve(port: int, tasks: int) -> None:
    """Answer on 127.0.0.1 at `port` as an engine with so many tasks, until killed."""
    loop = asyncio.get_running_loop()
    engine = MockEngine(tasks)
    server = await loop.create_server(lambda: Connection(engine), "127.0.0.1", port, backlog=4096)
    async with server:
        await server.serve_forever()


def main() -> None:
    """Serve as the command line's `--port` and `--tasks` say, until killed."""
    parser = argparse.ArgumentParser(prog="python -m launch.bench.overhead.mock_engine")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--tasks", type=int, default=3)
    options = parser.parse_args()
    uvloop.run(serve(options.port, options.tasks))


if __name__ == "__main__":
    main()
