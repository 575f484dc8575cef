"""Two answers to one request, the client's and a candidate's: read, and held against each other. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

import msgspec

from gateway.errors import NOT_JSON

MAX_TEXT_BYTES = 256 * 1024
"""A longer answer is not compared."""
MAX_RAW_BYTES = 1024 * 1024
"""Of a whole answer in JSON, or of one event of a stream."""
MAX_PATHS = 20
MAX_DEPTH = 16
PLAIN_KEY = re.compile(r"^[A-Za-z_][A-Za-z0-9_-]{0,39}$")
"""Any other key may be text of the answer, which is nobody's to keep: it is shown as `*`."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What is compared of one answer; `seconds` run from the request's sending to the answer's end."""

    text: str
    finish_reason: str = ""
    tokens: int = 0
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Difference:
    """Where two answers differ; both empty where they are the same."""

    structured: bool
    """Both are JSON objects or lists."""
    paths: tuple[str, ...] = ()
    """Such as `concepts[0].name`; `concepts.length` where lists differ in length. The first few."""
    same: bool = True


class _Call(msgspec.Struct):
    name: str = ""
    arguments: str = ""


class _ToolCall(msgspec.Struct):
    function: _Call = msgspec.field(default_factory=_Call)


class _Message(msgspec.Struct):
    content: str | None = None
    tool_calls: list[_ToolCall] | None = None


class _Choice(msgspec.Struct):
    index: int = 0
    message: _Message | None = None
    delta: _Message | None = None
    text: str | None = None
    finish_reason: str | None = None


class _Usage(msgspec.Struct):
    completion_tokens: int | None = 0


class _Document(msgspec.Struct):
    choices: list[_Choice] = []
    usage: _Usage | None = None
    error: msgspec.Raw | None = None


class _Part(msgspec.Struct):
    text: str | None = None


class _Item(msgspec.Struct):
    """Of a response's output: a message, or a call of a function."""

    type: str = ""
    content: list[_Part] | None = None
    name: str = ""
    arguments: str = ""


class _Tokens(msgspec.Struct):
    output_tokens: int = 0


class _Response(msgspec.Struct):
    output: list[_Item]
    status: str = ""
    usage: _Tokens | None = None


class _Block(msgspec.Struct):
    """Of a message's content: a text, or a call of a tool."""

    type: str = ""
    text: str = ""
    name: str = ""
    input: msgspec.Raw = msgspec.Raw(b"{}")


class _Said(msgspec.Struct):
    content: list[_Block]
    stop_reason: str | None = None
    usage: _Tokens | None = None


class _Delta(msgspec.Struct):
    text: str = ""
    stop_reason: str | None = None


class _Event(msgspec.Struct):
    """Of a stream with named events, a response's or a message's."""

    type: str = ""
    response: _Response | None = None
    delta: _Delta | str | None = None
    usage: _Tokens | None = None


_decode = msgspec.json.Decoder(_Document).decode
_decode_response = msgspec.json.Decoder(_Response).decode
_decode_said = msgspec.json.Decoder(_Said).decode
_decode_event = msgspec.json.Decoder(_Event).decode


def read_answer(body: bytes, seconds: float, api: str = "chat") -> Answer | None:
    """A whole answer's text, of several the first; None where it has none, or is too long.

    `api` is a dialect's name.
    """
    answer: Answer | None
    try:
        if api == "responses":
            answer = _of_response(_decode_response(body))
        elif api == "messages":
            answer = _of_message(_decode_said(body))
        else:
            answer = _of_choice(_decode(body))
    except NOT_JSON:
        return None
    if answer is None or len(answer.text) > MAX_TEXT_BYTES:
        return None
    return replace(answer, seconds=seconds)


def _of_response(response: _Response) -> Answer:
    texts = [part.text or "" for item in response.output for part in item.content or ()]
    calls: list[object] = [
        {"name": item.name, "arguments": _parsed(item.arguments)}
        for item in response.output
        if item.type == "function_call"
    ]
    tokens = response.usage.output_tokens if response.usage else 0
    return Answer(_with_calls("".join(texts), calls), response.status, tokens)


def _of_message(said: _Said) -> Answer:
    text = "".join(block.text for block in said.content if block.type == "text")
    calls: list[object] = [
        {"name": block.name, "arguments": msgspec.json.decode(block.input)}
        for block in said.content
        if block.type == "tool_use"
    ]
    tokens = said.usage.output_tokens if said.usage else 0
    return Answer(_with_calls(text, calls), said.stop_reason or "", tokens)


def _of_choice(document: _Document) -> Answer | None:
    choice = next((one for one in document.choices if one.index == 0), None)
    if choice is None:
        return None
    text = choice.text if choice.message is None else _said(choice.message)
    if text is None:
        return None
    tokens = (document.usage.completion_tokens or 0) if document.usage else 0
    return Answer(text, choice.finish_reason or "", tokens)


def _said(message: _Message) -> str:
    calls: list[object] = [
        {"name": call.function.name, "arguments": _parsed(call.function.arguments)}
        for call in message.tool_calls or ()
    ]
    return _with_calls(message.content or "", calls)


def _with_calls(text: str, calls: list[object]) -> str:
    """The text; of tool calls their names and arguments, without the ids that are new each time."""
    if not calls:
        return text
    return msgspec.json.encode({"content": text, "tool_calls": calls} if text else calls).decode()


class Gathered:
    """A client's own answer, kept as it passes, up to a bound."""

    __slots__ = (
        "_api",
        "_final",
        "_finish_reason",
        "_held",
        "_size_bytes",
        "_text",
        "_tokens",
        "_whole",
        "streamed",
        "usable",
    )

    def __init__(self, streamed: bool, api: str = "chat") -> None:
        """`api` is a dialect's name."""
        self._api = api
        self._final: Answer | None = None
        self.streamed = streamed
        self.usable = True
        """False where it is too long, or cannot be read."""
        self._held = b""
        self._text: list[str] = []
        self._size_bytes = 0
        self._finish_reason = ""
        self._tokens = 0
        self._whole = False

    def feed(self, piece: bytes) -> None:
        """The next bytes that went to the client."""
        if not self.usable or not piece:
            return
        self._held += piece
        if self.streamed:
            *events, self._held = self._held.replace(b"\r\n", b"\n").split(b"\n\n")
            for event in events:
                self._read(event)
        if len(self._held) > MAX_RAW_BYTES or self._size_bytes > MAX_TEXT_BYTES:
            self._give_up()

    def answer(self, seconds: float) -> Answer | None:
        """At its end; None where it is no whole answer that can be compared."""
        if not self.usable:
            return None
        if not self.streamed:
            return read_answer(self._held, seconds, self._api)
        if self._final is not None:
            return replace(self._final, seconds=seconds)
        if not self._whole:
            return None
        return Answer("".join(self._text), self._finish_reason, self._tokens, seconds)

    def _read(self, event: bytes) -> None:
        for line in event.split(b"\n"):
            if not line.startswith(b"data:"):
                continue
            data = line[5:].strip()
            if data == b"[DONE]":
                self._whole = True
                continue
            try:
                if self._api in ("responses", "messages"):
                    self._take_event(_decode_event(data))
                    continue
                document = _decode(data)
            except NOT_JSON:
                self._give_up()
                return
            if document.error is not None:
                self._give_up()
                return
            self._take(document)

    def _take_event(self, event: _Event) -> None:
        if event.type == "error":
            self._give_up()
        elif event.response is not None and event.type in ("response.completed", "response.incomplete"):
            answer = _of_response(event.response)  # it has the whole answer once more
            self._final = answer if len(answer.text) <= MAX_TEXT_BYTES else None
        elif event.type == "message_stop":
            self._whole = True
        elif isinstance(event.delta, _Delta):
            self._text.append(event.delta.text)
            self._size_bytes += len(event.delta.text)
            self._finish_reason = event.delta.stop_reason or self._finish_reason
            if event.usage is not None:
                self._tokens = event.usage.output_tokens

    def _take(self, document: _Document) -> None:
        if document.usage is not None:
            self._tokens = document.usage.completion_tokens or 0
        for choice in document.choices:
            if choice.index:
                continue
            said = choice.text if choice.delta is None else choice.delta.content
            if said:
                self._text.append(said)
                self._size_bytes += len(said)
            if choice.finish_reason:
                self._finish_reason = choice.finish_reason

    def _give_up(self) -> None:
        self.usable = False
        self._held = b""
        self._text = []


def compare(own: str, other: str) -> Difference:
    """Field by field where both are JSON objects or lists; else by their text."""
    ours, theirs = _parsed(own), _parsed(other)
    structured = isinstance(ours, dict | list) and isinstance(theirs, dict | list)
    if not structured:
        return Difference(False, same=own == other)
    paths: list[str] = []
    for path in _differing(ours, theirs, "", 0):
        paths.append(path or "$")
        if len(paths) == MAX_PATHS:
            break
    return Difference(True, tuple(paths), same=not paths)


def _parsed(text: str) -> object:
    """JSON's value; the text itself where it is none."""
    stripped = text.strip()
    if not stripped.startswith(("{", "[")):
        return text
    try:
        return msgspec.json.decode(stripped)
    except NOT_JSON:
        return text


def _differing(ours: object, theirs: object, path: str, depth: int) -> Iterator[str]:
    if isinstance(ours, dict) and isinstance(theirs, dict) and depth < MAX_DEPTH:
        for key in dict.fromkeys([*ours, *theirs]):
            shown = key if PLAIN_KEY.match(key) else "*"
            below = f"{path}.{shown}" if path else shown
            if key in ours and key in theirs:
                yield from _differing(ours[key], theirs[key], below, depth + 1)
            else:
                yield below
    elif isinstance(ours, list) and isinstance(theirs, list) and depth < MAX_DEPTH:
        if len(ours) != len(theirs):
            yield f"{path}.length" if path else "length"
        for index, (one, other) in enumerate(zip(ours, theirs, strict=False)):
            yield from _differing(one, other, f"{path}[{index}]", depth + 1)
    elif isinstance(ours, bool) is not isinstance(theirs, bool) or ours != theirs:  # True is no 1
        yield path
