"""What an answer says, as two answers to one request are held against each other. Pure."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import msgspec

from gateway.config.document import JsonObject
from gateway.dialects.chat.answer import calls_in, said_in, word_of
from gateway.errors import NOT_JSON

_encode = msgspec.json.Encoder().encode
_decode: Callable[[bytes], JsonObject] = msgspec.json.Decoder(dict).decode


@dataclass(frozen=True, slots=True)
class Said:
    """What is compared of one answer; `seconds` run from the request's sending to the answer's end."""

    text: str
    finish_reason: str = ""
    tokens: int = 0
    seconds: float = 0.0


class Reader(ABC):
    """Reads one answer: `whole`, or `feed` for the data of each event and `said` at the end."""

    def __init__(self) -> None:
        self.size = 0
        """Characters that its events have said."""
        self.failed = False
        """The stream has told of an error."""
        self._parts: list[str] = []
        self._finish_reason = ""
        self._tokens = 0
        self._ended = False

    def whole(self, body: bytes) -> Said | None:
        """A whole answer, of several the first; None where it is none. Raises ValueError for no JSON."""
        return self.of_document(_decode(body))

    def feed(self, data: bytes) -> None:
        """Raises ValueError for no JSON."""
        if data == b"[DONE]":
            self._ended = True
            return
        event = _decode(data)
        self.failed = self.failed or event.get("type") == "error" or event.get("error") is not None
        self.of_event(event)

    def said(self) -> Said | None:
        """What the stream said; None where it has not come to its end."""
        return Said("".join(self._parts), self._finish_reason, self._tokens) if self._ended else None

    @abstractmethod
    def of_document(self, document: JsonObject) -> Said | None: ...

    @abstractmethod
    def of_event(self, event: JsonObject) -> None: ...

    def _say(self, text: str) -> None:
        self._parts.append(text)
        self.size += len(text)


class ChoiceReader(Reader):
    """Of a chat completion, or a text completion."""

    def of_document(self, document: JsonObject) -> Said | None:
        choice = next(iter(_first_of(document)), None)
        if choice is None or ("message" not in choice and "text" not in choice):
            return None
        message = said_in(choice)
        calls = [called(call.name, parsed(call.arguments)) for call in calls_in(message)]
        text = with_calls(word_of(message, "content") or word_of(choice, "text"), calls)
        return Said(text, word_of(choice, "finish_reason"), count_in(document, "completion_tokens"))

    def of_event(self, event: JsonObject) -> None:
        self._tokens = count_in(event, "completion_tokens") or self._tokens
        for choice in _first_of(event):
            self._say(word_of(said_in(choice), "content") or word_of(choice, "text"))
            self._finish_reason = word_of(choice, "finish_reason") or self._finish_reason


def _first_of(document: JsonObject) -> list[JsonObject]:
    """Of several answers those pieces that are the first's."""
    return [choice for choice in objects_in(document, "choices") if not choice.get("index")]


def objects_in(holder: JsonObject, name: str) -> list[JsonObject]:
    """A member's elements that are objects."""
    held = holder.get(name)
    return [one for one in held if isinstance(one, dict)] if isinstance(held, list) else []


def count_in(holder: JsonObject, name: str) -> int:
    """A count in the answer's `usage`; 0 where there is none."""
    usage = holder.get("usage")
    count = usage.get(name) if isinstance(usage, dict) else None
    return count if isinstance(count, int) else 0


def called(name: str, arguments: object) -> object:
    """A call of a tool, without the id that is new each time."""
    return {"name": name, "arguments": arguments}


def with_calls(text: str, calls: list[object]) -> str:
    """The text; of calls their names and arguments too."""
    return _encode({"content": text, "tool_calls": calls} if text else calls).decode() if calls else text


def parsed(text: str) -> object:
    """JSON's value; the text itself where it is none."""
    stripped = text.strip()
    if not stripped.startswith(("{", "[")):
        return text
    try:
        return msgspec.json.decode(stripped)
    except NOT_JSON:
        return text
