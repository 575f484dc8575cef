"""An answer as OpenAI's response. Pure."""

from __future__ import annotations

from gateway.config.document import JsonObject
from gateway.dialects.chat.answer_blocks import Block, BlockRendering

_CUT = {"length": "max_output_tokens", "content_filter": "content_filter"}
_ECHOED = (
    *("instructions", "max_output_tokens", "max_tool_calls", "metadata", "reasoning", "temperature"),
    *("top_logprobs", "top_p", "user", "presence_penalty", "frequency_penalty"),
)


class ResponseRendering(BlockRendering):
    """A response repeats the parameters of its request."""

    def __init__(self, request_id: str, asked: JsonObject, usage_wanted: bool) -> None:
        super().__init__(request_id, asked, usage_wanted)
        self._sequence = 0

    def answer(self) -> JsonObject:
        if not self.blocks:
            self._new("text")  # an empty answer is a message too
        status = self._status()
        counted = self.counted
        reason = _CUT.get(self.finish_reason or "")
        return self._response(
            status,
            incomplete_details={"reason": reason} if reason else None,
            output=[self._item(block, self._status_of(block)) for block in self.blocks],
            usage={
                "input_tokens": counted.prompt,
                "input_tokens_details": {"cached_tokens": counted.cached, "cache_write_tokens": 0},
                "output_tokens": counted.completion,
                "output_tokens_details": {"reasoning_tokens": counted.reasoning},
                "total_tokens": counted.prompt + counted.completion,
                **counted.by_stage,
            },
        )

    def first(self) -> list[JsonObject]:
        response = self._response("in_progress")
        return [
            self._event("response.created", response=response),
            self._event("response.in_progress", response=response),
        ]

    def opened(self, block: Block) -> list[JsonObject]:
        item = self._item(block, "in_progress")
        if block.call is not None:
            return [self._event("response.output_item.added", output_index=block.index, item=item)]
        item["content"] = []
        return [
            self._event("response.output_item.added", output_index=block.index, item=item),
            self._event("response.content_part.added", **self._place(block), part=_part("")),
        ]

    def grown(self, block: Block, text: str) -> list[JsonObject]:
        if block.call is not None:
            kind = "response.function_call_arguments.delta"
            return [self._event(kind, item_id=self._id(block), output_index=block.index, delta=text)]
        return [self._event("response.output_text.delta", **self._place(block), delta=text, logprobs=[])]

    def closed(self, block: Block) -> list[JsonObject]:
        item = self._item(block, self._status_of(block))
        done = self._event_of_end(block)
        return [*done, self._event("response.output_item.done", output_index=block.index, item=item)]

    def last(self) -> list[JsonObject]:
        events: list[JsonObject] = []
        if not self.blocks:
            block = self._next(events, "text")
            events += self.closed(block)
        return [*events, self._event(f"response.{self._status()}", response=self.answer())]

    def _event_of_end(self, block: Block) -> list[JsonObject]:
        text = block.text
        if block.call is not None:
            place: JsonObject = {"item_id": self._id(block), "output_index": block.index}
            return [
                self._event(
                    "response.function_call_arguments.done", **place, name=block.call.name, arguments=text
                )
            ]
        place = self._place(block)
        return [
            self._event("response.output_text.done", **place, text=text, logprobs=[]),
            self._event("response.content_part.done", **place, part=_part(text)),
        ]

    def _status(self) -> str:
        return "incomplete" if self.finish_reason in _CUT else "completed"

    def _status_of(self, block: Block) -> str:
        """Only the last one can have been cut off."""
        return self._status() if block is self.blocks[-1] else "completed"

    def _id(self, block: Block) -> str:
        kind = "msg" if block.call is None else "fc"
        return f"{kind}_{self.request_id}_{block.index}"

    def _place(self, block: Block) -> JsonObject:
        return {"item_id": self._id(block), "output_index": block.index, "content_index": 0}

    def _event(self, kind: str, **fields: object) -> JsonObject:
        event = {"type": kind, "sequence_number": self._sequence, **fields}
        self._sequence += 1
        return event  # type: ignore[return-value]  # every field is JSON

    def _item(self, block: Block, status: str) -> JsonObject:
        item: JsonObject = {"id": self._id(block), "status": status}
        if block.call is None:
            part: JsonObject = {"type": "refusal", "refusal": block.text}
            content = part if block.kind == "refusal" else _part(block.text)
            return {**item, "type": "message", "role": "assistant", "content": [content]}
        call = block.call
        said: JsonObject = {"call_id": call.id, "name": call.name, "arguments": block.text}
        return {**item, "type": "function_call", **said}

    def _response(self, status: str, **ended: object) -> JsonObject:
        asked = self.asked
        response = {
            "id": f"resp_{self.request_id}",
            "object": "response",
            "created_at": self.created,
            "model": self.model,
            "status": status,
            "background": False,
            "error": None,
            "incomplete_details": None,
            "output": [],
            "parallel_tool_calls": asked.get("parallel_tool_calls") is not False,
            "previous_response_id": None,
            "service_tier": "default",
            "store": False,
            "text": asked.get("text") or {"format": {"type": "text"}},
            "tool_choice": asked.get("tool_choice") or "auto",
            "tools": asked.get("tools") or [],
            "truncation": "disabled",
            "usage": None,
            **{key: asked.get(key) for key in _ECHOED},
            **ended,
        }
        return response  # type: ignore[return-value]  # every field is JSON


def _part(text: str) -> JsonObject:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}
