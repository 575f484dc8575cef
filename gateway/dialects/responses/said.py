"""What a response says, as two answers are held against each other. Pure."""

from __future__ import annotations

from gateway.config.document import JsonObject
from gateway.dialects.chat.answer import word_of
from gateway.dialects.chat.said import Reader, Said, called, count_in, objects_in, parsed, with_calls


class ResponseReader(Reader):
    """Of OpenAI's response, whole or by its last event, which has the whole answer once more."""

    def of_document(self, document: JsonObject) -> Said | None:
        if not isinstance(document.get("output"), list):
            return None
        items = objects_in(document, "output")
        text = "".join(word_of(part, "text") for item in items for part in objects_in(item, "content"))
        calls = [
            called(word_of(item, "name"), parsed(word_of(item, "arguments")))
            for item in items
            if item.get("type") == "function_call"
        ]
        tokens = count_in(document, "output_tokens")
        return Said(with_calls(text, calls), word_of(document, "status"), tokens)

    def of_event(self, event: JsonObject) -> None:
        response = event.get("response")
        if event.get("type") not in ("response.completed", "response.incomplete"):
            return
        said = self.of_document(response) if isinstance(response, dict) else None
        if said is not None:
            self._say(said.text)
            self._finish_reason, self._tokens = said.finish_reason, said.tokens
            self._ended = True
