"""What a request costs of the gateway's own code: `python -m tests.support.cost.request_cost`.

One client's connection and one to the engine are driven in this process over transports that do nothing, so
that neither kernel nor event loop counts. CPU time is the least of many short runs, which other load hardly
moves; bytecodes are the same each time, and hang on the version of Python alone.
"""

from __future__ import annotations

import asyncio
import gc
import hashlib
import json
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import uvicorn

from gateway.http.client_connection import GatewayProtocol
from gateway.http.engine_connection import Connection
from gateway.http.server import protocol_with
from gateway.metrics.recent import after
from tests.support.stack import TASKS, Stack, stack

KEY = "k" * 40
TOKENS = 100
"""Of the longer stream, by which a token's own share is told."""
RUNS = 200
_USAGE = {"prompt_tokens": 10, "total_tokens": 20, "completion_tokens": 10}
_CHAT = {
    "model": "concept",
    "messages": [{"role": "user", "content": "Members: pippin, russet, bramley and what else they are of"}],
    "max_tokens": 64,
}
_EVENT: dict[str, Any] = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "model": TASKS["concept"]}
_TOKEN = {"index": 0, "delta": {"content": " round"}, "logprobs": None, "finish_reason": None}


def _request(body: dict[str, object]) -> bytes:
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {KEY}\r\n"
    content = json.dumps(body)
    return f"{head}content-type: application/json\r\ncontent-length: {len(content)}\r\n\r\n{content}".encode()


def _answer() -> bytes:
    choice = {"index": 0, "message": {"role": "assistant", "content": "a fruit"}, "finish_reason": "stop"}
    content = json.dumps({"id": "chatcmpl-1", "choices": [choice], "usage": _USAGE})
    head = "HTTP/1.1 200 OK\r\nserver: uvicorn\r\ncontent-type: application/json\r\n"
    return f"{head}content-length: {len(content)}\r\n\r\n{content}".encode()


def _chunk(event: object) -> bytes:
    text = json.dumps(event, separators=(",", ":")) if event else "[DONE]"
    data = f"data: {text}\n\n"
    return f"{len(data):x}\r\n{data}\r\n".encode()


class NoTransport(asyncio.Transport):
    """Takes what is written, and keeps the last of it."""

    def __init__(self) -> None:
        super().__init__({"peername": ("127.0.0.1", 1), "sockname": ("127.0.0.1", 2)})
        self.last = b""

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.last = bytes(data)

    def is_closing(self) -> bool:
        return False

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass

    def get_write_buffer_size(self) -> int:
        return 0

    def close(self) -> None:
        pass

    abort = close


class Driven:
    """A gateway with a key, one client's connection and a kept one to its engine."""

    def __init__(self, client: GatewayProtocol, engine: Connection, sent: NoTransport) -> None:
        self.client = client
        self.engine = engine
        self._sent = sent
        self._chat, self._answer = _request(_CHAT), _answer()
        self._stream = _request(_CHAT | {"stream": True})
        self._head = (
            b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
        )
        self._token = _chunk(_EVENT | {"choices": [_TOKEN]})
        self._end = _chunk(_EVENT | {"choices": [], "usage": _USAGE}) + _chunk(None) + b"0\r\n\r\n"

    def whole(self) -> None:
        """A request, and its answer in one piece."""
        self.client.data_received(self._chat)
        self.engine.data_received(self._answer)

    def stream(self, tokens: int) -> None:
        """A request whose answer is a stream, each token in a read of its own."""
        self.client.data_received(self._stream)
        self.engine.data_received(self._head)
        for _ in range(tokens):
            self.engine.data_received(self._token)
        self.engine.data_received(self._end)

    def check(self) -> None:
        """Both ways lead to an answer. Raises AssertionError."""
        self.whole()
        assert b"a fruit" in self._sent.last, self._sent.last
        self.stream(1)
        assert self._sent.last.endswith(b"0\r\n\r\n"), self._sent.last


@asynccontextmanager
async def driven(folder: Path) -> AsyncIterator[Driven]:
    """`Driven`, warm; the engine itself is never asked."""
    async with stack(folder, keys={"one": {"sha256": hashlib.sha256(KEY.encode()).hexdigest()}}) as made:
        first = await made.client.get("/v1/models", headers={"authorization": f"Bearer {KEY}"})
        assert first.status_code == 200, first.text
        one = _driven(made)
        for _ in range(20):  # Python specializes what has run a few times
            one.check()
        yield one


def _driven(made: Stack) -> Driven:
    gateway, loop = made.gateway, asyncio.get_running_loop()
    settings = uvicorn.Config(gateway, lifespan="off", log_config=None)
    settings.load()
    protocol = protocol_with(60.0, gateway.express, gateway.uploads, own_name=gateway.own_name)
    client, sent = protocol(settings, made.server, {}, loop), NoTransport()
    client.connection_made(sent)
    gateway.metrics.recent.later = after(loop)  # as a worker that serves
    upstream = gateway.replicas.ready[0].upstream
    engine = Connection(loop, upstream._timeouts, upstream)
    engine.connection_made(NoTransport())
    engine.last_data = loop.time()
    upstream._idle.append(engine)
    return Driven(client, engine, sent)


def bytecodes(work: Callable[[], None]) -> int:
    """How many are run, in the calling thread: the least of three, as a busy machine once added some."""
    return min(_bytecodes_now(work) for _ in range(3))


def _bytecodes_now(work: Callable[[], None]) -> int:
    count = 0

    def trace(frame: FrameType, event: str, _: object) -> Any:
        nonlocal count
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        count += event == "opcode"
        return trace

    sys.settrace(trace)
    try:
        work()
    finally:
        sys.settrace(None)
    return count


def least_us(work: Callable[[], None], times: int) -> float:
    """CPU time of one `work`, in microseconds."""
    least = float("inf")
    for _ in range(RUNS):
        began = time.thread_time()
        for _ in range(times):
            work()
        least = min(least, (time.thread_time() - began) / times)
    return 1e6 * least


async def _show() -> None:
    with tempfile.TemporaryDirectory() as folder:
        async with driven(Path(folder)) as one:
            gc.collect()
            gc.freeze()
            print("| | CPU, us | bytecodes |\n|---|---|---|")
            print(f"| a whole answer | {least_us(one.whole, 100):.1f} | {bytecodes(one.whole)} |")
            short, long = (least_us(lambda n=n: one.stream(n), 10) for n in (1, 1 + TOKENS))  # type: ignore[misc]
            few, many = (bytecodes(lambda n=n: one.stream(n)) for n in (1, 1 + TOKENS))  # type: ignore[misc]
            print(f"| a stream of one token | {short:.1f} | {few} |")
            print(f"| a token more | {(long - short) / TOKENS:.2f} | {(many - few) / TOKENS:.0f} |")


if __name__ == "__main__":
    asyncio.run(_show())
