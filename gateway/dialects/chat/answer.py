"""What a chat completion, or a chunk of one, says. Pure."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec
from pydantic import JsonValue

from gateway.config.document import JsonObject
from gateway.http.event_stream import TokenUsage


@dataclass(frozen=True, slots=True)
class CallPiece:
    """A call of a tool, or what one chunk adds to it."""

    index: JsonValue
    id: str
    name: str
    arguments: str


def choice_of(document: JsonObject) -> JsonObject:
    """The first choice; empty where there is none."""
    choices = document.get("choices")
    first = choices[0] if isinstance(choices, list) and choices else None
    return first if isinstance(first, dict) else {}


def said_in(choice: JsonObject) -> JsonObject:
    """A choice's message, or its delta."""
    said = choice.get("message", choice.get("delta"))
    return said if isinstance(said, dict) else {}


def word_of(said: JsonObject, key: str) -> str:
    """A member that is a text; empty where it is none."""
    value = said.get(key)
    return value if isinstance(value, str) else ""


def calls_in(said: JsonObject) -> list[CallPiece]:
    calls = said.get("tool_calls")
    pieces = []
    for position, call in enumerate(calls if isinstance(calls, list) else []):
        if isinstance(call, dict):
            function = call.get("function")
            named = function if isinstance(function, dict) else {}
            index = call.get("index", position)  # a whole message's calls have none
            pieces.append(
                CallPiece(index, word_of(call, "id"), word_of(named, "name"), word_of(named, "arguments"))
            )
    return pieces


def finish_of(choice: JsonObject) -> str | None:
    return word_of(choice, "finish_reason") or None


def usage_of(document: JsonObject) -> TokenUsage | None:
    usage = document.get("usage")
    try:
        return msgspec.convert(usage, TokenUsage) if isinstance(usage, dict) else None
    except msgspec.ValidationError:
        return None


def detail_of(document: JsonObject, kind: str, name: str) -> int:
    """One of the usage's details: `prompt_tokens_details.cached_tokens`, for one; 0 where it is not said."""
    usage = document.get("usage")
    details = usage.get(kind) if isinstance(usage, dict) else None
    count = details.get(name) if isinstance(details, dict) else None
    return count if isinstance(count, int) else 0
