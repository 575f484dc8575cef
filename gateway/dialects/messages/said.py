"""What a message says, as two answers are held against each other. Pure."""

from __future__ import annotations

from gateway.config.document import JsonObject
from gateway.dialects.chat.answer import word_of
from gateway.dialects.chat.said import Reader, Said, called, count_in, objects_in, with_calls


class MessageReader(Reader):
    """Of Anthropic's message, whole or by its events."""

    def of_document(self, document: JsonObject) -> Said | None:
        if not isinstance(document.get("content"), list):
            return None
        blocks = objects_in(document, "content")
        text = "".join(word_of(block, "text") for block in blocks if block.get("type") == "text")
        calls = [
            called(word_of(block, "name"), block.get("input", {}))
            for block in blocks
            if block.get("type") == "tool_use"
        ]
        tokens = count_in(document, "output_tokens")
        return Said(with_calls(text, calls), word_of(document, "stop_reason"), tokens)

    def of_event(self, event: JsonObject) -> None:
        self._ended = self._ended or event.get("type") == "message_stop"
        delta = event.get("delta")
        if isinstance(delta, dict):
            self._say(word_of(delta, "text"))
            self._finish_reason = word_of(delta, "stop_reason") or self._finish_reason
            self._tokens = count_in(event, "output_tokens") or self._tokens
