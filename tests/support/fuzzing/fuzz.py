"""What is fed with mutated input, and what must hold whatever comes; a longer run from the command line.

    python -m tests.support.fuzzing.fuzz --seconds 1500

prints for each target how many inputs it had, and the seed of the first that broke a promise.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import logging
import tempfile
import time
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import httptools
import uvicorn
from starlette.types import Receive, Scope, Send
from uvicorn.server import ServerState

from gateway.dialects.cost.grammars import grammars_of
from gateway.dialects.cost.sequences import sequences_of
from gateway.dialects.parameters import Limits
from gateway.dialects.prompt_scores import check_scoring
from gateway.dialects.registry import DIALECTS
from gateway.dialects.request_body import decode_body
from gateway.errors import InvalidRequest, RequestError
from gateway.http.engine_connection import Connection, Timeouts
from gateway.http.event_stream import EventStream, data_in
from gateway.http.server import protocol_with
from gateway.pipeline.partial_json import ElementScanner
from gateway.routing.table import build_table
from tests.support.fuzzing.mutations import Mutator
from tests.support.stack import config_of
from tests.support.waiting import turns

Target = Callable[[Mutator], None]

USER = {"role": "user", "content": "Wörter\n"}
PART = {"type": "image_url", "image_url": {"url": "https://x/y"}}
TOOL = {
    "type": "function",
    "function": {"name": "f", "parameters": {"type": "object", "properties": {"a": {}}}},
}
SCHEMA = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "string", "pattern": "a*"}}}
BODIES = [
    json.dumps({"model": "naming", **fields}).encode()
    for fields in (
        {"messages": [USER], "max_tokens": 5, "temperature": 0.5, "n": 2, "stream": True, "stop": ["a", "b"]},
        {
            "messages": [{"role": "system", "content": "s"}, USER],
            "response_format": SCHEMA,
            "logit_bias": {"5": 1},
        },
        {
            "messages": [{"role": "user", "content": [{"type": "text", "text": "x"}, PART]}],
            "metadata": {"a": "b"},
        },
        {
            "messages": [USER],
            "tools": [TOOL],
            "tool_choice": "required",
            "stream_options": {"include_usage": True},
        },
        {
            "prompt": ["a", "b"],
            "max_tokens": 5,
            "logprobs": 2,
            "echo": True,
            "seed": 1,
            "structured_outputs": {"regex": "a"},
        },
        {
            "prompt": [[1, 2], [3]],
            "allowed_token_ids": [1],
            "bad_words": ["x"],
            "min_tokens": 1,
            "stream_interval": 2,
        },
        {
            "input": [{"role": "user", "content": [{"type": "input_text", "text": "x"}]}],
            "text": {"format": {"type": "text"}},
        },
        {
            "messages": [USER],
            "system": "s",
            "max_tokens": 9,
            "thinking": {"type": "enabled", "budget_tokens": 5},
        },
        {
            "tokens": [1, 2, 3],
            "input": "x",
            "chat_template_kwargs": {"enable_thinking": True},
            "cache_salt": "s",
        },
    )
]


class Shallow:
    """The shallow decoder, and all that looks at a request before an engine does."""

    def __init__(self, folder: Path) -> None:
        config = config_of(folder)
        self._limits = Limits(config, lambda: 2048)
        self._route = build_table(config, {}).routes["naming"]

    def __call__(self, mutator: Mutator) -> None:
        data = mutator.mutated(BODIES)
        try:
            fields = decode_body(data)
        except InvalidRequest:
            return
        try:
            text = data.decode("utf-8-sig")
        except UnicodeDecodeError:
            return  # within a value, which the engine refuses
        told = {key: value for key, value in json.loads(text).items() if value is not None}
        assert {key: json.loads(bytes(raw)) for key, raw in fields.items()} == told
        for dialect in DIALECTS:
            try:
                asked = decode_body(data)
                dialect.model_of(asked, "base")
                dialect.check_fields(asked, self._limits)
                sequences_of(asked, dialect.listed, {}, 64)
                check_scoring(asked, {})
                grammars_of(asked)
                dialect.sticky_of(asked)
                if "stream" in asked:
                    dialect.ask_for_usage(asked)
                dialect.apply_contract(asked, self._route)
                sent = b"".join(dialect.encode_body(asked, self._route, len(data)))
            except RequestError as error:
                if error.status >= 500:
                    raise AssertionError(error) from error
                continue
            assert json.loads(sent)["model"] is None  # of a task that no engine has


HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"
ANSWERS = [
    HEAD + b"content-length: 2\r\n\r\n{}",
    HEAD + b'transfer-encoding: chunked\r\n\r\n5\r\n{"a":\r\n3;x=y\r\n 1}\r\n0\r\ntrailer: x\r\n\r\n',
    b"HTTP/1.1 100 Continue\r\n\r\n" + HEAD + b"connection: close\r\n\r\n{}",
    b"HTTP/1.1 503 Busy\r\nretry-after: 3\r\ncontent-length: 0\r\n\r\n",
]


class Pipe(asyncio.Transport):
    """Takes what is written; closes at once."""

    def __init__(self) -> None:
        super().__init__()
        self.written = bytearray()
        self.closing = False

    def write(self, data: Any) -> None:
        self.written += data

    def writelines(self, list_of_data: Any) -> None:
        for data in list_of_data:
            self.written += data

    def close(self) -> None:
        self.closing = True

    def abort(self) -> None:
        self.closing = True

    def is_closing(self) -> bool:
        return self.closing

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None: ...

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...

    def get_write_buffer_size(self) -> int:
        return 0

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None: ...

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return ("127.0.0.1", 5) if name in ("peername", "sockname") else default


class Keeper:
    process = ""

    def finish(self, connection: Connection, /) -> None: ...


class EngineAnswers:
    """The parser of engines' answers."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop

    def __call__(self, mutator: Mutator) -> None:
        connection = Connection(self._loop, Timeouts(9, 9, 9, 9), Keeper())
        connection.connection_made(Pipe())
        connection.send(b"POST / HTTP/1.1\r\n\r\n", (b"{}",))
        body = b""
        for piece in mutator.cut(mutator.mutated(ANSWERS)):
            connection.data_received(piece)
            body += connection.take()
            if connection.closed:
                break
        if connection.complete:
            assert 200 <= connection.status < 600
        if connection.head_complete:
            assert all(b"\n" not in value and b"\r" not in value for value in connection.headers.values())
        connection.abort()


STREAMS = [
    b'data: {"id":"x","choices":[{"delta":{"content":"a"}}]}\n\n'
    b'data: {"choices":[],"usage":{"prompt_tokens":1}}\n\ndata: [DONE]\n\n',
    b': beat\r\n\r\ndata: {"choices":[{"delta":{"content":"\\n\\n"}}]}\r\n\r\n',
    b'data: {"choices":[]}\n\ndata: {"error": {"message": "secret"}}\n\n',
]


def streams(mutator: Mutator) -> None:
    """Events on their way through: nothing is added, nothing is turned round."""
    data = mutator.mutated(STREAMS)
    events = EventStream(True)
    passed = b"".join(events.feed(piece) for piece in mutator.cut(data)) + events.rest()
    left = iter(data)
    assert all(byte in left for byte in passed)  # in order, some left out
    [*data_in(passed)]


DOCUMENTS = [
    '{"concepts":[{"members":["a","b"],"x":{"y":[1,2.5e3,null]}},{"members":[]}],"other":["\\u00e9\\ud83d\\ude00"]}',
    '```json\n{"a": "]}", "concepts": ["x\\"y", {"concepts": [1]}, [], -0.5, true]}\n``` {"concepts": [9]}',
]


def elements(mutator: Mutator) -> None:
    """The partial-JSON reader: what it gives does not hang on how the text is cut."""
    data = mutator.mutated([one.encode() for one in DOCUMENTS])
    text = data.decode("utf-8", "replace")
    found: list[list[tuple[str, Any]] | None] = []
    for pieces in ([text], list(text), mutator.cut_text(text)):
        scanner, given = ElementScanner(("concepts", "other")), list[tuple[str, Any]]()
        try:
            for piece in pieces:
                given += scanner.feed(piece)
        except ValueError:
            found.append(None)
        else:
            found.append(given)
    assert found[0] == found[1] == found[2]
    try:
        whole = json.loads(text)
    except (ValueError, RecursionError):
        return
    if isinstance(whole, dict) and len(set(whole)) == text.count('":'):  # no names within, none twice
        for field, element in found[0] or ():
            assert element in whole[field]


REQUESTS = [
    b"POST /a HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\n\r\nhelloGET /b HTTP/1.1\r\nhost: x\r\n\r\n",
    b"POST /a HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    b"GET /c?d=e%2f HTTP/1.0\r\naccept: */*\r\n\r\n",
    b"POST /a HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\n{}",
    b"OPTIONS /v1 HTTP/1.1\r\nhost: x\r\nconnection: Upgrade, HTTP2-Settings\r\nupgrade: h2c\r\n\r\n",
]


class ClientRequests:
    """The parser of clients' requests, under an application that answers what it got."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self.faults: list[Any] = []
        loop.set_exception_handler(lambda _, context: self.faults.append(context))
        handler = logging.Handler(logging.ERROR)
        handler.emit = self.faults.append  # type: ignore[method-assign,assignment]  # of the last resort
        logging.getLogger("gateway").addHandler(handler)
        self._config = uvicorn.Config(
            self._app,
            http=protocol_with(30.0),
            lifespan="off",
            log_level="critical",
            ws="none",
            interface="asgi3",
        )
        self._config.load()
        self._served = 0

    async def _app(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = b""
        while (message := await receive())["type"] == "http.request":
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        self._served += 1
        await send(
            {
                "type": "http.response.start",
                "status": 200,
                "headers": [(b"content-length", b"%d" % len(body))],
            }
        )
        await send({"type": "http.response.body", "body": body})

    def __call__(self, mutator: Mutator) -> None:
        self._served = 0
        pipe, state = Pipe(), ServerState()
        protocol = self._config.http_protocol_class(
            config=self._config, server_state=state, app_state={}, _loop=self._loop
        )  # type: ignore[call-arg]
        data = mutator.mutated(REQUESTS)
        self._loop.run_until_complete(self._feed(protocol, pipe, mutator.cut(data), state))
        assert not self.faults, self.faults
        answers = Answers(bytes(pipe.written))
        assert self._served <= data.count(b"HTTP/")
        assert answers.statuses.count(200) <= self._served
        assert all(status in KNOWN for status in answers.statuses), answers.statuses

    async def _feed(
        self, protocol: asyncio.Protocol, pipe: Pipe, pieces: list[bytes], state: ServerState
    ) -> None:
        protocol.connection_made(pipe)
        for piece in pieces:
            if pipe.closing:
                break
            protocol.data_received(piece)
            await asyncio.sleep(0)
        await turns(20)
        protocol.connection_lost(None)
        await asyncio.gather(*state.tasks, return_exceptions=True)


KNOWN = {100, 200, 400, 408, 413, 414, 417, 431, 501, 505}


class Answers:
    """Those in what was written, read by another parser than ours. Raises where they are no HTTP."""

    def __init__(self, written: bytes) -> None:
        self.statuses: list[int] = []
        self._parser = httptools.HttpResponseParser(self)
        with contextlib.suppress(httptools.HttpParserUpgrade):
            self._parser.feed_data(written)

    def on_headers_complete(self) -> None:
        self.statuses.append(self._parser.get_status_code())


BLOCK = 200


def targets(folder: Path, loop: asyncio.AbstractEventLoop) -> Mapping[str, Target]:
    """By name, each for as many inputs as one likes."""
    return {
        "shallow": Shallow(folder),
        "engine": EngineAnswers(loop),
        "client": ClientRequests(loop),
        "streams": streams,
        "elements": elements,
    }


def main() -> None:
    """Until the time is over, or a promise is broken."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=1_000_000)
    asked = parser.parse_args()
    loop = asyncio.new_event_loop()
    with tempfile.TemporaryDirectory() as folder:
        known = targets(Path(folder), loop)
        counts, broken, seed = dict.fromkeys(known, 0), dict[str, int](), asked.seed
        end = time.monotonic() + asked.seconds
        while time.monotonic() < end:
            for name, target in known.items():
                for number in range(seed, seed + BLOCK):
                    counts[name] += 1
                    try:
                        target(Mutator(number))
                    except Exception:
                        if name not in broken:
                            broken[name] = number
                            traceback.print_exc()
            seed += BLOCK
    for name, count in counts.items():
        end_ = f"broken by seed {broken[name]}" if name in broken else "all promises kept"
        print(f"{name}: {count} inputs, {end_}")


if __name__ == "__main__":
    main()
