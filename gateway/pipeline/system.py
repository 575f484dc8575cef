"""What becomes of a system message that a client sends to a pipeline. Pure."""

from __future__ import annotations

from pydantic import JsonValue

from gateway.config.document import JsonObject
from gateway.errors import InvalidRequest
from gateway.pipeline.inputs import message_text

ROLES = ("system", "developer")


def places(body: JsonObject) -> list[tuple[int, str]]:
    """Each message of the system's or the developer's that says something: its index and text."""
    messages: JsonValue = body.get("messages")
    said: list[tuple[int, str]] = []
    for index, message in enumerate(messages if isinstance(messages, list) else []):
        if isinstance(message, dict) and message.get("role") in ROLES:
            text = message_text(message.get("content"), index).strip()
            if text:
                said.append((index, text))
    return said


def prepended(body: JsonObject, pipeline: str, how: str) -> str:
    """What goes before the first stage's own system prompt; empty: nothing. Raises InvalidRequest.

    `how` is the pipeline's option: refuse, ignore or prepend.
    """
    if how == "ignore":
        return ""
    said = places(body)
    if how == "refuse" and said:
        index, _ = said[0]
        raise InvalidRequest(
            f"'{pipeline}' is a pipeline and brings its own system prompts; leave the system message out, or "
            f"call one of its tasks (pipelines.{pipeline}.system: refuse)",
            param=f"messages[{index}]",
        )
    return "\n\n".join(text for _, text in said)
