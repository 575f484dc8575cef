"""`python -m tests.faults.fault_engine PORT`: the fake engine as a process, failing as it is asked to.

A request's last words say what it gets: `echo` and words come back word by word, the name of a fault is
answered by it. `GET /fake` tells what is going on, `POST /fake` lets go what is held.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable, Coroutine

import uvloop

from tests.fakes.fake_engine import BACKLOG, Answer, Document, FakeEngine, Received

HTML = b"<html><body><h1>Welcome to nginx</h1></body></html>"
JSON_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"
EVENTS_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
EVENT = b'data: {"id":"x","object":"chat.completion.chunk","created":1,"model":"m","choices":[]}\n\n'
WHOLE = b'{"id":"x","object":"chat.completion","created":1,"model":"m","choices":[],"usage":null}'
SLOW_S = 0.03
"""Between the tokens of a slow answer."""


def page(status: bytes) -> bytes:
    """What a proxy in between says."""
    head = b"HTTP/1.1 %b\r\ncontent-type: text/html\r\ncontent-length: %d\r\n\r\n"
    return head % (status, len(HTML)) + HTML


RAW = {
    "garbage": b"\x00\x01\x02 no HTTP at all \xff\xfe\r\n\r\n",
    "html": page(b"200 OK"),
    "html 502": page(b"502 Bad Gateway"),
    "cut": EVENTS_HEAD + b"%x\r\n%b\r\n" % (len(EVENT), EVENT) + b"ff\r\ndata: {",
    "endless head": JSON_HEAD + b"x-more: and more\r\n" * 50_000,
    "too short": JSON_HEAD + b"content-length: 4096\r\n\r\n" + WHOLE,
    "too long": JSON_HEAD + b"content-length: %d\r\n\r\n" % (len(WHOLE) - 20) + WHOLE,
    "nothing": b"",
}
"""The bytes of a whole answer, after which the connection is closed."""


class FaultEngine(FakeEngine):
    """Forgets what it has received, since it may run for long."""

    def __init__(self) -> None:
        super().__init__()
        self.received = Newest()
        self.go = asyncio.Event()
        self.answered = self.flooded_bytes = 0

    def _chosen(self, request: Received) -> Answer:
        if request.method == "GET" or request.path == "/fake":
            return Answer()
        kind, _, words = wish_of(request.json).partition(" ")
        answer = Answer(tokens=[f" {word}" for word in words.split()] if kind in ECHOES else ["Paris"])
        if kind == "held":
            answer.hold_token[1] = self.go
        if kind == "slow":
            answer.hold_token.update((index, asyncio.Event()) for index in range(len(answer.tokens)))
        return answer

    async def _answer(self, request: Received, answer: Answer, writer: asyncio.StreamWriter) -> bool:
        if request.path == "/fake":
            return await self._told(request, writer)
        if request.method == "GET":
            return await super()._answer(request, answer, writer)
        wish = wish_of(request.json)
        if wish in RAW:
            await self._write(writer, RAW[wish])
            return False
        if special := SPECIAL.get(wish):
            return await special(self, writer)
        slow = wish.partition(" ")[0] == "slow"
        pace = asyncio.create_task(self._pace(answer)) if slow else None
        try:
            kept = await super()._answer(request, answer, writer)
        finally:
            if pace is not None:
                pace.cancel()
        self.answered += 1
        return kept

    async def _pace(self, answer: Answer) -> None:
        """Token by token."""
        for event in answer.hold_token.values():
            await asyncio.sleep(SLOW_S)
            event.set()

    async def _told(self, request: Received, writer: asyncio.StreamWriter) -> bool:
        if request.method == "POST":
            self.go.set()
            self.go = asyncio.Event()
        told = {
            "active": self.active,
            "aborts": self.aborts,
            "answered": self.answered,
            "connections": self.connections,
            "open": len(self._tasks),
            "flooded_bytes": self.flooded_bytes,
        }
        return await self._whole(writer, 200, json.dumps(told).encode())

    async def half_open(self, writer: asyncio.StreamWriter) -> bool:
        """Ends its own half of the connection in the middle of a stream, and keeps the other."""
        await self._write(writer, EVENTS_HEAD + b"%x\r\n%b\r\n" % (len(EVENT), EVENT))
        writer.write_eof()
        await asyncio.Event().wait()
        return False

    async def silent(self, writer: asyncio.StreamWriter) -> bool:
        """Takes the request and says nothing."""
        await asyncio.Event().wait()
        return False

    async def stalled(self, writer: asyncio.StreamWriter) -> bool:
        """Begins a stream and says nothing more."""
        await self._write(writer, EVENTS_HEAD + b"%x\r\n%b\r\n" % (len(EVENT), EVENT))
        await asyncio.Event().wait()
        return False

    async def flood(self, writer: asyncio.StreamWriter) -> bool:
        """A stream without end, as fast as it is taken."""
        await self._write(writer, EVENTS_HEAD)
        block = EVENT * 500
        while True:
            await self._write(writer, b"%x\r\n%b\r\n" % (len(block), block))
            self.flooded_bytes += len(block)


ECHOES = ("echo", "held", "slow")
SPECIAL: dict[str, Callable[[FaultEngine, asyncio.StreamWriter], Coroutine[None, None, bool]]] = {
    "half-open": FaultEngine.half_open,
    "silent": FaultEngine.silent,
    "stalled": FaultEngine.stalled,
    "flood": FaultEngine.flood,
}


class Newest(list[Received]):
    """The last few."""

    def append(self, one: Received) -> None:
        super().append(one)
        del self[:-10]


def wish_of(asked: Document) -> str:
    """The request's last words."""
    messages = asked.get("messages")
    if isinstance(messages, list):
        return str(messages[-1]["content"])
    return str(asked.get("prompt", ""))


async def serve(port: int) -> None:
    """Until killed; the port is printed."""
    engine = FaultEngine()
    server = await asyncio.start_server(engine._connected, "127.0.0.1", port, backlog=BACKLOG)
    print(f"listening on http://127.0.0.1:{server.sockets[0].getsockname()[1]}", file=sys.stderr, flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1])))
