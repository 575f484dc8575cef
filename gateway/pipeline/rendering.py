"""How a pipeline's answer is written in each API. Pure."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

import msgspec

from gateway.config.document import JsonObject
from gateway.dialects.messages.dialect import begun_message
from gateway.pipeline.answer import ChunkRenderer, Shape, chat_completion, text_completion
from gateway.pipeline.run import Done, Piece, Result

_encode = msgspec.json.Encoder().encode


class Rendering(ABC):
    """One request's answer: `whole`, or `first`, `event` for each event, and `end`."""

    end: ClassVar[bytes] = b""
    """What a stream ends with after its last event."""

    def __init__(self, request_id: str, created: int, model: str) -> None:
        """`created` is unix seconds."""
        self.request_id = request_id
        self.created = created
        self.model = model

    @abstractmethod
    def whole(self, result: Result) -> JsonObject: ...

    @abstractmethod
    def first(self) -> list[JsonObject]:
        """What comes before the text."""

    @abstractmethod
    def event(self, event: Piece | Done) -> list[JsonObject]:
        """The documents to send for one event of the answer, in their order."""

    def encoded(self, events: list[JsonObject]) -> bytes:
        """Server-sent events; those that have a type are named by it."""
        return b"".join(_encoded(event) for event in events)


def _encoded(event: JsonObject) -> bytes:
    kind = event.get("type")
    name = f"event: {kind}\n".encode() if kind else b""
    return name + b"data: " + _encode(event) + b"\n\n"


class CompletionRendering(Rendering):
    """OpenAI's chat completion, or text completion."""

    end = b"data: [DONE]\n\n"

    def __init__(
        self, request_id: str, created: int, model: str, shape: Shape, *, include_usage: bool
    ) -> None:
        super().__init__(request_id, created, model)
        self._chat = shape == "chat"
        self._id = ("chatcmpl-" if self._chat else "cmpl-") + request_id
        self._chunks = ChunkRenderer(shape, self._id, created, model, include_usage=include_usage)

    def whole(self, result: Result) -> JsonObject:
        render = chat_completion if self._chat else text_completion
        return render(self._id, self.created, self.model, result)

    def first(self) -> list[JsonObject]:
        return self._chunks.first()

    def event(self, event: Piece | Done) -> list[JsonObject]:
        return self._chunks.event(event)


class MessageRendering(Rendering):
    """An answer as Anthropic's message, whole or as the events of a stream."""

    def whole(self, result: Result) -> JsonObject:
        message = self._message(_message_usage(result.usage))
        message["content"] = [{"type": "text", "text": result.text}]
        message["stop_reason"] = _stop_reason(result.finish_reason)
        return message

    def first(self) -> list[JsonObject]:
        """Nothing is known of the usage yet: a pipeline's stages count as they end."""
        return [
            {"type": "message_start", "message": self._message({"input_tokens": 0, "output_tokens": 0})},
            {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        ]

    def event(self, event: Piece | Done) -> list[JsonObject]:
        if isinstance(event, Piece):
            delta: JsonObject = {"type": "text_delta", "text": event.text}
            return [{"type": "content_block_delta", "index": 0, "delta": delta}]
        ended: JsonObject = {"stop_reason": _stop_reason(event.finish_reason), "stop_sequence": None}
        return [
            {"type": "content_block_stop", "index": 0},
            {"type": "message_delta", "delta": ended, "usage": _message_usage(event.usage)},
            {"type": "message_stop"},
        ]

    def _message(self, usage: JsonObject) -> JsonObject:
        return begun_message(self.request_id, self.model, usage)


def _stop_reason(finish_reason: str) -> str:
    return "max_tokens" if finish_reason == "length" else "end_turn"


def _message_usage(usage: JsonObject) -> JsonObject:
    return {
        "input_tokens": usage["prompt_tokens"],
        "output_tokens": usage["completion_tokens"],
        "stages": usage["stages"],
    }


class ResponseRendering(Rendering):
    """OpenAI's response, of one message with one text."""

    def __init__(self, request_id: str, created: int, model: str, asked: JsonObject) -> None:
        super().__init__(request_id, created, model)
        self._item_id = f"msg_{request_id}"
        self._text: list[str] = []
        self._sequence = 0
        self._base: JsonObject = {
            "id": f"resp_{request_id}",
            "object": "response",
            "created_at": created,
            "status": "in_progress",
            "background": False,
            "error": None,
            "incomplete_details": None,
            "instructions": None,
            "max_output_tokens": asked.get("max_output_tokens"),
            "metadata": asked.get("metadata"),
            "model": model,
            "output": [],
            "parallel_tool_calls": True,
            "previous_response_id": None,
            "reasoning": None,
            "service_tier": "default",
            "store": False,
            "temperature": asked.get("temperature"),
            "text": {"format": {"type": "text"}},
            "tool_choice": "none",
            "tools": [],
            "top_p": asked.get("top_p"),
            "truncation": "disabled",
            "usage": None,
            "user": asked.get("user"),
        }

    def whole(self, result: Result) -> JsonObject:
        return self._ended(result.text, result.usage, result.finish_reason)

    def first(self) -> list[JsonObject]:
        item = self._item("", "in_progress")
        item["content"] = []
        return [
            self._named("response.created", response=self._base),
            self._named("response.in_progress", response=self._base),
            self._named("response.output_item.added", output_index=0, item=item),
            self._named("response.content_part.added", **self._where, part=_part("")),
        ]

    def event(self, event: Piece | Done) -> list[JsonObject]:
        if isinstance(event, Piece):
            self._text.append(event.text)
            kind = "response.output_text.delta"
            return [self._named(kind, **self._where, delta=event.text, logprobs=[])]
        text = "".join(self._text)
        response = self._ended(text, event.usage, event.finish_reason)
        item = self._item(text, "incomplete" if event.finish_reason == "length" else "completed")
        return [
            self._named("response.output_text.done", **self._where, text=text, logprobs=[]),
            self._named("response.content_part.done", **self._where, part=_part(text)),
            self._named("response.output_item.done", output_index=0, item=item),
            self._named(f"response.{response['status']}", response=response),
        ]

    @property
    def _where(self) -> JsonObject:
        return {"item_id": self._item_id, "output_index": 0, "content_index": 0}

    def _named(self, kind: str, **fields: object) -> JsonObject:
        event = {"type": kind, "sequence_number": self._sequence, **fields}
        self._sequence += 1
        return event  # type: ignore[return-value]  # every field is JSON

    def _item(self, text: str, status: str) -> JsonObject:
        return {
            "id": self._item_id,
            "type": "message",
            "role": "assistant",
            "status": status,
            "content": [_part(text)],
        }

    def _ended(self, text: str, usage: JsonObject, finish_reason: str) -> JsonObject:
        cut = finish_reason == "length"
        status = "incomplete" if cut else "completed"
        return {
            **self._base,
            "status": status,
            "incomplete_details": {"reason": "max_output_tokens"} if cut else None,
            "output": [self._item(text, status)],
            "usage": {
                "input_tokens": usage["prompt_tokens"],
                "input_tokens_details": {"cached_tokens": 0},
                "output_tokens": usage["completion_tokens"],
                "output_tokens_details": {"reasoning_tokens": 0},
                "total_tokens": usage["total_tokens"],
                "stages": usage["stages"],
            },
        }


def _part(text: str) -> JsonObject:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}
