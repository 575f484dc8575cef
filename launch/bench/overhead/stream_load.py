"""Clients that read streams: N connections, each one stream after the other, until the time is up.

`python -m launch.bench.overhead.stream_load URL …` prints one JSON object. The parts that other modules use:
`StreamClient`, a bare HTTP/1.1 connection, `connect` and `request_bytes`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from dataclasses import dataclass, field
from typing import cast
from urllib.parse import urlsplit

import httptools
import uvloop

from launch.bench.overhead import payload
from launch.simulation.figures import percentile


def request_bytes(url: str, body: bytes, headers: dict[str, str]) -> bytes:
    """A whole HTTP/1.1 POST of a JSON body, head and body, as bytes."""
    parts = urlsplit(url)
    lines = [f"POST {parts.path} HTTP/1.1", f"host: {parts.netloc}", "content-type: application/json"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    lines.append(f"content-length: {len(body)}")
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


class StreamClient(asyncio.Protocol):
    """One connection; `ask` sends a request and waits for its whole answer."""

    transport: asyncio.Transport

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._parser = httptools.HttpResponseParser(self)
        self._done: asyncio.Future[None] | None = None
        self._body: list[bytes] = []
        self.status = 0
        self.first_at = 0.0
        self.closed = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's own class, no subclass of it

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def connection_lost(self, error: Exception | None) -> None:
        self.closed = True
        if self._done is not None and not self._done.done():
            self._done.set_exception(ConnectionError("the connection closed before the answer's end"))

    def on_body(self, body: bytes) -> None:
        if not self._body:
            self.first_at = time.perf_counter()
        self._body.append(body)

    def on_message_complete(self) -> None:
        self.status = self._parser.get_status_code()
        if not self._parser.should_keep_alive():
            self.transport.close()
            self.closed = True
        self._parser = httptools.HttpResponseParser(self)
        if self._done is not None and not self._done.done():
            self._done.set_result(None)

    async def ask(self, request: bytes) -> bytes:
        """The answer's body; `status` and `first_at` are then this answer's. Raises ConnectionError."""
        self._body = []
        self._done = self._loop.create_future()
        self.transport.write(request)
        await self._done
        return b"".join(self._body)


async def connect(url: str) -> StreamClient:
    """A connection to the URL's host. Raises OSError."""
    parts = urlsplit(url)
    host, port = parts.hostname or "127.0.0.1", parts.port or 80
    _, client = await asyncio.get_running_loop().create_connection(StreamClient, host, port)
    return client


@dataclass
class StreamTally:
    """What the streams gave; times in microseconds."""

    ttft_us: list[float] = field(default_factory=list)
    streams: int = 0
    chunks: int = 0
    wrong_chunks: int = 0
    failed_streams: int = 0
    reasons: set[str] = field(default_factory=set)


class Expected:
    """A stream's bytes as the mock sends them, so that an untouched one need not be decoded."""

    def __init__(self, tokens: int) -> None:
        self.texts = payload.token_texts(tokens)
        first = payload.token_event(payload.delay_text(0))
        digits = first.index(payload.delay_text(0).encode()) + 1
        self._before = payload.role_event() + first[:digits]
        self._after = (
            first[digits + payload.DELAY_DIGITS :] + b"".join(payload.token_events(tokens)) + payload.DONE
        )

    def delay_of(self, body: bytes) -> int | None:
        """The mock's delay in us where the body came through byte for byte, else None."""
        start = len(self._before)
        end = start + payload.DELAY_DIGITS
        if body[end:] == self._after and body[:start] == self._before:
            return int(body[start:end])
        return None

    def wrong(self, texts: list[str]) -> int:
        """How many tokens are missing, too many, or not what they should be."""
        # A proxy may join tokens; the text is what a client sees.
        if "".join(texts) == "".join(self.texts):
            return 0
        pairs = zip(texts, self.texts, strict=False)
        differing = sum(got != wanted for got, wanted in pairs) + abs(len(texts) - len(self.texts))
        return max(1, differing)


async def _reader(
    url: str, request: bytes, expected: Expected, start_s: float, until: float, tally: StreamTally
) -> None:
    await asyncio.sleep(start_s)
    client: StreamClient | None = None
    while time.perf_counter() < until:
        try:
            if client is None or client.closed:
                client = await connect(url)
            asked_at = time.perf_counter()
            body = await client.ask(request)
            if client.status != 200:
                raise ValueError(f"status {client.status}: {body[:200]!r}")
            delay_us = expected.delay_of(body)
            if delay_us is None:
                delay_us, texts = payload.read_stream(body)
                tally.wrong_chunks += expected.wrong(texts)
        except (OSError, ValueError) as error:
            tally.failed_streams += 1
            tally.wrong_chunks += len(expected.texts) + 1
            tally.reasons.add(str(error)[:300])
            client = None
            # A proxy that refuses at once would be asked thousands of times a second.
            await asyncio.sleep(0.05)
            continue
        tally.streams += 1
        tally.chunks += len(expected.texts) + 1
        tally.ttft_us.append((client.first_at - asked_at) * 1e6 - delay_us)
    if client is not None:
        client.transport.close()


async def run(
    url: str, headers: dict[str, str], connections: int, tokens: int, seconds: float, spread_s: float
) -> dict[str, object]:
    """Read streams for `seconds`; begun ones are read to their end."""
    request = request_bytes(url, payload.chat_body(stream=True, tokens=tokens), headers)
    expected = Expected(tokens)
    tally = StreamTally()
    began = time.perf_counter()
    until = began + seconds
    starts = [spread_s * number / connections for number in range(connections)]
    await asyncio.gather(*(_reader(url, request, expected, start, until, tally) for start in starts))
    wall_s = time.perf_counter() - began
    times = {}
    if tally.ttft_us:
        times = {
            "ttft_p50_us": percentile(tally.ttft_us, 0.5),
            "ttft_p99_us": percentile(tally.ttft_us, 0.99),
        }
    return {
        **times,
        "streams": tally.streams,
        "chunks": tally.chunks,
        "chunks_per_s": tally.chunks / wall_s,
        "wrong_chunks": tally.wrong_chunks,
        "failed_streams": tally.failed_streams,
        "reasons": sorted(tally.reasons)[:3],
        "wall_s": wall_s,
    }


def main() -> None:
    """Read streams as the command line says, and print what was measured as one JSON document."""
    parser = argparse.ArgumentParser(prog="python -m launch.bench.overhead.stream_load")
    parser.add_argument("url")
    parser.add_argument("--header", action="append", default=[], help="name: value")
    parser.add_argument("--connections", type=int, required=True)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--spread", type=float, default=0.0, help="seconds over which the clients begin")
    options = parser.parse_args()
    headers = dict(header.split(": ", 1) for header in options.header)
    work = run(options.url, headers, options.connections, options.tokens, options.seconds, options.spread)
    print(json.dumps(uvloop.run(work)))


if __name__ == "__main__":
    main()
