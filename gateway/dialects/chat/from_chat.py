"""How a fallback's answer, which comes as a chat completion, is written in the API that was asked. Pure."""

from __future__ import annotations

from abc import ABC, abstractmethod

import msgspec

from gateway.config.document import JsonObject
from gateway.dialects.chat.answer import usage_of

_encode = msgspec.json.Encoder().encode


class Rendering(ABC):
    """One request's answer: `whole`, or `piece` for each chunk and `end`. All may raise ProviderFailed."""

    @abstractmethod
    def whole(self, document: JsonObject) -> JsonObject: ...

    @abstractmethod
    def piece(self, chunk: JsonObject) -> bytes:
        """What goes out for one chunk; it may be nothing."""

    @abstractmethod
    def end(self) -> bytes:
        """What a stream ends with."""


class CompletionRendering(Rendering):
    """OpenAI's chat completion, or text completion."""

    def __init__(self, usage_wanted: bool) -> None:
        self._usage_wanted = usage_wanted
        self._last: JsonObject = {}

    def whole(self, document: JsonObject) -> JsonObject:
        return document

    def piece(self, chunk: JsonObject) -> bytes:
        counted = usage_of(chunk)
        usage = chunk.pop("usage", None)
        if counted is not None and (counted.prompt_tokens or counted.completion_tokens):
            self._last = {**chunk, "choices": [], "usage": usage}
        return b"data: " + _encode(chunk) + b"\n\n" if _says_something(chunk) else b""

    def end(self) -> bytes:
        end = b"data: [DONE]\n\n"
        if self._usage_wanted and self._last:
            return b"data: " + _encode(self._last) + b"\n\n" + end
        return end


def _says_something(chunk: JsonObject) -> bool:
    """LiteLLM's usage comes in a chunk with an empty choice, which OpenAI's clients do not expect twice."""
    choices = chunk.get("choices")
    for choice in choices if isinstance(choices, list) else []:
        if isinstance(choice, dict) and (
            choice.get("finish_reason") or choice.get("delta") or choice.get("text") is not None
        ):
            return True
    return False
