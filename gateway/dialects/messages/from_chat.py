"""An answer as Anthropic's message. Pure."""

from __future__ import annotations

import msgspec
from pydantic import JsonValue

from gateway.config.document import JsonObject
from gateway.dialects.chat.answer_blocks import Block, BlockRendering
from gateway.errors import NOT_JSON, ProviderFailed

_STOP_REASONS = {"length": "max_tokens", "content_filter": "refusal", "tool_calls": "tool_use"}


class MessageRendering(BlockRendering):
    """Which of several stop sequences ended it no chat says: it is `end_turn` then."""

    def answer(self) -> JsonObject:
        message = self._message(self._usage())
        message["content"] = [_content(block) for block in self.blocks]
        message["stop_reason"] = self._stop_reason()
        return message

    def first(self) -> list[JsonObject]:
        """Providers, and a pipeline's stages, tell the usage at the end."""
        return [{"type": "message_start", "message": self._message({"input_tokens": 0, "output_tokens": 0})}]

    def opened(self, block: Block) -> list[JsonObject]:
        content: JsonObject = {"type": "text", "text": ""}
        if block.call is not None:
            content = _tool_use(block, {})
        return [{"type": "content_block_start", "index": block.index, "content_block": content}]

    def grown(self, block: Block, text: str) -> list[JsonObject]:
        delta: JsonObject = {"type": "text_delta", "text": text}
        if block.call is not None:
            delta = {"type": "input_json_delta", "partial_json": text}
        return [{"type": "content_block_delta", "index": block.index, "delta": delta}]

    def closed(self, block: Block) -> list[JsonObject]:
        return [{"type": "content_block_stop", "index": block.index}]

    def last(self) -> list[JsonObject]:
        ended: JsonObject = {"stop_reason": self._stop_reason(), "stop_sequence": None}
        return [
            {"type": "message_delta", "delta": ended, "usage": self._usage()},
            {"type": "message_stop"},
        ]

    def _message(self, usage: JsonObject) -> JsonObject:
        return {
            "id": f"msg_{self.request_id}",
            "type": "message",
            "role": "assistant",
            "model": self.model,
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": usage,
        }

    def _stop_reason(self) -> str:
        if any(block.kind == "refusal" for block in self.blocks):
            return "refusal"
        reason = self.finish_reason or "stop"
        if reason == "stop" and any(block.call for block in self.blocks):
            return "tool_use"  # OpenAI says `stop` where the call was forced
        return _STOP_REASONS.get(reason, "end_turn")

    def _usage(self) -> JsonObject:
        """Anthropic counts what was read from a cache apart."""
        counted = self.counted
        usage: JsonObject = {
            "input_tokens": max(0, counted.prompt - counted.cached),
            "output_tokens": counted.completion,
        }
        if counted.cached:
            usage["cache_read_input_tokens"] = counted.cached
        return usage | counted.by_stage


def _content(block: Block) -> JsonValue:
    if block.call is None:
        return {"type": "text", "text": block.text}
    try:
        arguments: JsonObject = msgspec.json.decode(block.text or "{}", type=dict)
    except NOT_JSON:
        raise ProviderFailed("its call of a tool holds no JSON object") from None
    return _tool_use(block, arguments)


def _tool_use(block: Block, arguments: JsonObject) -> JsonObject:
    assert block.call is not None
    return {"type": "tool_use", "id": block.call.id, "name": block.call.name, "input": arguments}
