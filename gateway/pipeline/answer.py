"""A pipeline's answer as a chat completion, from which each API's own form is made. Pure."""

from __future__ import annotations

from gateway.config.document import JsonObject
from gateway.pipeline.run import Done, Piece, PipelineResult


class PipelineCompletion:
    """One answer: `whole`, or `first` and a chunk for each event."""

    def __init__(self, request_id: str, created: int, model: str) -> None:
        """`created` is unix seconds."""
        self._head: JsonObject = {"id": f"chatcmpl-{request_id}", "created": created, "model": model}

    def whole(self, result: PipelineResult) -> JsonObject:
        """A `chat.completion` with one choice."""
        message: JsonObject = {"role": "assistant", "content": result.text}
        choice = _choice("message", message, result.finish_reason)
        return {**self._head, "object": "chat.completion", "choices": [choice], "usage": result.usage}

    def first(self) -> JsonObject:
        """The chunk before the text: the role."""
        return self._chunk({"role": "assistant", "content": ""}, None)

    def chunk(self, event: Piece | Done) -> JsonObject:
        """Of a piece its text; of the end the finish reason and the usage."""
        if isinstance(event, Piece):
            return self._chunk({"content": event.text}, None)
        return {**self._chunk({}, event.finish_reason), "usage": event.usage}

    def _chunk(self, delta: JsonObject, finish_reason: str | None) -> JsonObject:
        choice = _choice("delta", delta, finish_reason)
        return {**self._head, "object": "chat.completion.chunk", "choices": [choice]}


def _choice(key: str, said: JsonObject, finish_reason: str | None) -> JsonObject:
    return {"index": 0, key: said, "logprobs": None, "finish_reason": finish_reason}
