"""An engine for unit tests: vLLM's recorded shapes over real sockets, with hooks instead of sleeps."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tests.fakes import fake_apis
from tests.fakes.fake_apis import RECORDED

MODELS = ("base", "concept@aaaaaaaaaaaa", "naming@bbbbbbbbbbbb")
BACKLOG = 2048
"""As uvicorn's: with asyncio's 100 the kernel loses some of a burst of connections, and resets a few."""
Document = dict[str, object]


def recorded(name: str) -> dict[str, object]:
    """One exchange as the real vLLM had it."""
    document = json.loads((RECORDED / f"{name}.json").read_text(encoding="utf-8"))
    assert isinstance(document, dict)
    return document


@dataclass
class Answer:
    """How the engine answers one model."""

    tokens: list[str] = field(default_factory=lambda: ["Par", "is"])
    status: int = 200
    body: bytes | None = None  # instead of a completion
    raw: bytes | None = None  # instead of a whole HTTP answer; the connection closes after it
    hold_head: asyncio.Event | None = None
    hold_token: dict[int, asyncio.Event] = field(default_factory=dict)
    break_before: int | None = None  # close the connection before this token
    flood_bytes: int = 0  # a stream of this many bytes instead of tokens


@dataclass
class Received:
    """One request as it came."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Document:
        document = json.loads(self.body)
        assert isinstance(document, dict)
        return document


class FakeEngine:
    """Counts what it saw; `until` waits for a count to come true."""

    def __init__(self) -> None:
        self.answers: dict[str, Answer | Callable[[Document], Answer]] = {}
        self.received: list[Received] = []
        self.connections = self.active = self.aborts = self.sent_bytes = 0
        self.close_kept_once = False
        self.load = b""  # what /metrics says; 404 without
        self.hold_load: asyncio.Event | None = None
        self.url = ""
        self._server: asyncio.Server | None = None
        self._stopped = False
        self._changed = asyncio.Condition()
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self, uds: Path | None = None) -> str:
        """Listen on a free port, or on a Unix socket; the URL."""
        self._stopped = False
        if uds is not None:
            self._server = await asyncio.start_unix_server(self._connected, uds, backlog=BACKLOG)
            self.url = f"unix:{uds}"
            return self.url
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0, backlog=BACKLOG)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self.url

    async def stop(self) -> None:
        """Close everything, as a killed engine does."""
        self._stopped = True  # a connection that was made just now has no task yet
        if self._server is not None:
            self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def completions(self) -> list[Received]:
        return [request for request in self.received if request.method == "POST"]

    async def until(self, condition: Callable[[], bool], limit_s: float = 20.0) -> None:
        async with asyncio.timeout(limit_s), self._changed:
            await self._changed.wait_for(condition)

    async def _note(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._stopped:
            writer.transport.abort()
            return
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.connections += 1
        try:
            early = b""
            while (request := await _read(reader, early)) is not None:
                self.received.append(request)
                answer = self._chosen(request)  # at once: who sees that it came may tell of the next one's
                await self._note()
                if self.close_kept_once and len(self.received) > 1:
                    self.close_kept_once = False
                    break
                kept, early = await self._serve(request, answer, reader, writer)
                if not kept:
                    break
        except (ConnectionError, asyncio.CancelledError):
            pass
        finally:
            self._tasks.discard(task)
            writer.transport.abort()

    async def _serve(
        self,
        request: Received,
        answer: Answer,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> tuple[bool, bytes]:
        """Answer, watching whether the client goes: whether the connection goes on, and what came already."""
        answering = asyncio.ensure_future(self._answer(request, answer, writer))
        leaving = asyncio.ensure_future(reader.read(1))
        counted = request.method == "POST"
        self.active += counted
        try:
            await asyncio.wait((answering, leaving), return_when=asyncio.FIRST_COMPLETED)
            if not answering.done() and leaving.result():
                await asyncio.wait((answering,))
            if answering.done() and not isinstance(answering.exception(), ConnectionError):
                leaving.cancel()
                await asyncio.wait((leaving,))
                return answering.result(), b"" if leaving.cancelled() else leaving.result()
            self.aborts += 1
            return False, b""
        finally:
            for task in (answering, leaving):
                task.cancel()
            self.active -= counted  # first: the wait may be cancelled
            await asyncio.gather(answering, leaving, return_exceptions=True)
            await asyncio.shield(self._note())

    def _chosen(self, request: Received) -> Answer:
        if request.method == "GET":
            return Answer()
        asked = request.json
        given = self.answers.get(str(asked["model"]), Answer())
        return given(asked) if callable(given) else given

    async def _answer(self, request: Received, answer: Answer, writer: asyncio.StreamWriter) -> bool:
        if request.path == "/metrics":
            if self.hold_load is not None:
                await self.hold_load.wait()
            return await self._whole(writer, 200 if self.load else 404, self.load)
        if request.method == "GET":
            listed = {"object": "list", "data": [_model(name) for name in MODELS]}
            return await self._whole(writer, 200, json.dumps(listed).encode())
        asked = request.json
        if answer.hold_head is not None:
            await answer.hold_head.wait()
        if answer.raw is not None:
            await self._write(writer, answer.raw)
            return False
        chat = request.path.endswith("/chat/completions")
        if answer.body is not None or answer.status != 200:
            return await self._whole(writer, answer.status, answer.body or b"{}")
        if asked.get("stream") is True:
            return await self._stream(writer, answer, asked, request.path)
        for index in range(len(answer.tokens)):
            if index in answer.hold_token:
                await answer.hold_token[index].wait()
        if request.path in fake_apis.WHOLE:
            return await self._whole(writer, *fake_apis.whole(request.path, asked, answer.tokens))
        return await self._whole(writer, 200, json.dumps(_completion(answer, asked, chat)).encode())

    async def _stream(self, writer: asyncio.StreamWriter, answer: Answer, asked: Document, path: str) -> bool:
        chat = path.endswith("/chat/completions")
        named = fake_apis.stream(path, asked, answer.tokens) if path in fake_apis.WHOLE else None
        head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\n"
        await self._write(writer, head + b"transfer-encoding: chunked\r\n\r\n")
        filler = b"data: " + b"x" * 65528 + b"\n\n"
        for _ in range(answer.flood_bytes // len(filler)):
            await self._write(writer, _chunk(filler))
        if named is not None:
            await self._write(writer, _chunk(named.before))
        for index, token in enumerate([] if answer.flood_bytes else answer.tokens):
            if index in answer.hold_token:
                await answer.hold_token[index].wait()
            if index == answer.break_before:
                writer.write(b"ff\r\ndata: {")  # a chunk that promises more than comes
                await writer.drain()
                writer.close()
                return False
            if named is not None:
                await self._write(writer, _chunk(named.token(token)))
                continue
            last = index == len(answer.tokens) - 1
            await self._write(writer, _chunk(_event(_piece(token, asked, chat, last))))
        if named is not None:
            await self._write(writer, _chunk(named.after) + b"0\r\n\r\n")
            return True
        options = asked.get("stream_options")
        if isinstance(options, dict) and options.get("include_usage"):
            await self._write(writer, _chunk(_event(_usage_event(answer, asked, chat))))
        await self._write(writer, _chunk(b"data: [DONE]\n\n") + b"0\r\n\r\n")
        return True

    async def _whole(self, writer: asyncio.StreamWriter, status: int, body: bytes) -> bool:
        head = b"HTTP/1.1 %d X\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
        await self._write(writer, head % (status, len(body)) + body)
        return True

    async def _write(self, writer: asyncio.StreamWriter, data: bytes) -> None:
        if writer.is_closing():  # uvloop raises another error for it
            raise ConnectionResetError
        writer.write(data)
        await writer.drain()
        self.sent_bytes += len(data)


async def _read(reader: asyncio.StreamReader, early: bytes) -> Received | None:
    try:
        head = (early + await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    except (asyncio.IncompleteReadError, ConnectionError):
        return None
    method, path, _ = head[0].split(" ")
    headers = {key.lower(): value for key, _, value in (line.partition(": ") for line in head[1:] if line)}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Received(method, path, headers, body)


def _model(name: str) -> Document:
    adapter = "@" in name
    entry = {"id": name, "object": "model", "created": 1700000000, "owned_by": "vllm"}
    return entry | {"root": f"/adapters/{name}", "parent": "base" if adapter else None, "max_model_len": 512}


def _usage(answer: Answer) -> Document:
    count = len(answer.tokens)
    return {"prompt_tokens": 7, "completion_tokens": count, "total_tokens": 7 + count}


def _completion(answer: Answer, asked: Document, chat: bool) -> Document:
    text = "".join(answer.tokens)
    choice: Document = {"message": {"role": "assistant", "content": text}} if chat else {"text": text}
    base = recorded("chat" if chat else "completion")["body"]
    assert isinstance(base, dict)
    choices = [{"index": 0, "finish_reason": "stop", "logprobs": None} | choice]
    return base | {"model": asked["model"], "choices": choices, "usage": _usage(answer)}


def _piece(token: str, asked: Document, chat: bool, last: bool) -> Document:
    choice: Document = {"delta": {"content": token}} if chat else {"text": token}
    kind, start = ("chat.completion.chunk", "chatcmpl-0") if chat else ("text_completion", "cmpl-0")
    choices = [{"index": 0, "finish_reason": "stop" if last else None} | choice]
    return {"id": start, "object": kind, "created": 1, "model": asked["model"], "choices": choices}


def _usage_event(answer: Answer, asked: Document, chat: bool) -> Document:
    return _piece("", asked, chat, True) | {"choices": [], "usage": _usage(answer)}


def _event(document: Document) -> bytes:
    return b"data: " + json.dumps(document).encode() + b"\n\n"


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)
