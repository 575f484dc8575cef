"""How an answer that comes as a chat completion is written in the API that was asked. Pure."""

from __future__ import annotations

from abc import ABC, abstractmethod

import msgspec
from pydantic import JsonValue

from gateway.config.document import JsonObject
from gateway.dialects.chat.answer import said_in, usage_of, word_of

_encode = msgspec.json.Encoder().encode


class Rendering(ABC):
    """One request's answer: `whole`, or `piece` for each chunk and `end`. All may raise ProviderFailed."""

    def __init__(self, request_id: str, asked: JsonObject, usage_wanted: bool) -> None:
        """`asked` is the request's body."""
        self.request_id = request_id
        self.asked = asked
        self.usage_wanted = usage_wanted

    @abstractmethod
    def whole(self, document: JsonObject) -> JsonObject:
        """The answer that a chat completion is."""

    @abstractmethod
    def piece(self, chunk: JsonObject) -> bytes:
        """What goes out for one chunk; it may be nothing."""

    @abstractmethod
    def end(self) -> bytes:
        """What a stream ends with."""


class ChatRendering(Rendering):
    """OpenAI's chat completion, passed on as it is; of a stream the usage goes into one last event."""

    _last: JsonObject | None = None

    def whole(self, document: JsonObject) -> JsonObject:
        return document

    def piece(self, chunk: JsonObject) -> bytes:
        counted, usage = usage_of(chunk), chunk.get("usage")
        if counted is not None and (counted.prompt_tokens or counted.completion_tokens or not self._last):
            self._last = {**chunk, "choices": [], "usage": usage}
        if not _says_something(chunk):
            return b""
        kept = {key: value for key, value in chunk.items() if key != "usage"}
        # As OpenAI has it: where the usage is wanted, all events before the last have one of null.
        return _event(kept | {"usage": None} if self.usage_wanted else kept)

    def end(self) -> bytes:
        return (_event(self._last) if self.usage_wanted and self._last else b"") + b"data: [DONE]\n\n"


class TextRendering(ChatRendering):
    """OpenAI's text completion: of each choice the message's text alone."""

    def whole(self, document: JsonObject) -> JsonObject:
        return _as_text(document)

    def piece(self, chunk: JsonObject) -> bytes:
        return super().piece(_as_text(chunk))


def _event(document: JsonObject) -> bytes:
    return b"data: " + _encode(document) + b"\n\n"


def _says_something(chunk: JsonObject) -> bool:
    """LiteLLM's usage comes in a chunk with an empty choice, which OpenAI's clients do not expect twice."""
    choices = chunk.get("choices")
    for choice in choices if isinstance(choices, list) else []:
        if isinstance(choice, dict) and (
            choice.get("finish_reason") or choice.get("delta") or choice.get("text") is not None
        ):
            return True
    return False


def _as_text(document: JsonObject) -> JsonObject:
    choices = document.get("choices")
    texts: list[JsonValue] = [
        _choice(one) for one in (choices if isinstance(choices, list) else []) if isinstance(one, dict)
    ]
    named = word_of(document, "id").replace("chatcmpl-", "cmpl-", 1)
    return {**document, "id": named, "object": "text_completion", "choices": texts}


def _choice(choice: JsonObject) -> JsonObject:
    """Without a text where a chunk's adds none to the answer."""
    said, why = word_of(said_in(choice), "content"), choice.get("finish_reason")
    text: JsonObject = {"text": said} if said or why is not None else {}
    return {"index": choice.get("index", 0), "logprobs": None, **text, "finish_reason": why}
