"""Renders a pipeline's answer in OpenAI's shapes. Pure; `created` is unix seconds."""

from __future__ import annotations

from typing import Literal

from pydantic import JsonValue

from gateway.config.document import JsonObject
from gateway.pipeline.run import Done, Piece, Result

Shape = Literal["chat", "text"]


def chat_completion(answer_id: str, created: int, model: str, result: Result) -> JsonObject:
    """A whole answer as OpenAI's `chat.completion` with one choice; `created` is unix seconds."""
    message: JsonObject = {"role": "assistant", "content": result.text}
    choice: JsonObject = {
        "index": 0,
        "message": message,
        "logprobs": None,
        "finish_reason": result.finish_reason,
    }
    return _whole(answer_id, "chat.completion", created, model, choice, result.usage)


def text_completion(answer_id: str, created: int, model: str, result: Result) -> JsonObject:
    """A `text_completion`, the answer of /v1/completions."""
    choice: JsonObject = {
        "index": 0,
        "text": result.text,
        "logprobs": None,
        "finish_reason": result.finish_reason,
    }
    return _whole(answer_id, "text_completion", created, model, choice, result.usage)


def _whole(
    answer_id: str, kind: str, created: int, model: str, choice: JsonObject, usage: JsonObject
) -> JsonObject:
    return {
        "id": answer_id,
        "object": kind,
        "created": created,
        "model": model,
        "choices": [choice],
        "usage": usage,
    }


class ChunkRenderer:
    """The chunks of one streamed answer; the endpoint adds `data: ` and the closing `[DONE]`."""

    def __init__(
        self, shape: Shape, answer_id: str, created: int, model: str, *, include_usage: bool
    ) -> None:
        self._shape = shape
        self._include_usage = include_usage
        self._head: JsonObject = {
            "id": answer_id,
            "object": "chat.completion.chunk" if shape == "chat" else "text_completion",
            "created": created,
            "model": model,
        }

    def first(self) -> list[JsonObject]:
        """What comes before the text: the role, in a chat."""
        return [self._chunk({"role": "assistant", "content": ""}, None)] if self._shape == "chat" else []

    def event(self, event: Piece | Done) -> list[JsonObject]:
        """The chunks of one event: text, or the finish reason and, where asked for, the usage."""
        if isinstance(event, Piece):
            return [self._chunk({"content": event.text} if self._shape == "chat" else event.text, None)]
        chunks = [self._chunk({} if self._shape == "chat" else "", event.finish_reason)]
        if self._include_usage:
            chunks.append({**self._head, "choices": [], "usage": event.usage})
        return chunks

    def _chunk(self, content: JsonValue, finish_reason: str | None) -> JsonObject:
        field = "delta" if self._shape == "chat" else "text"
        choice: JsonObject = {"index": 0, field: content, "logprobs": None, "finish_reason": finish_reason}
        chunk: JsonObject = {**self._head, "choices": [choice]}
        if self._include_usage:
            chunk["usage"] = None
        return chunk
