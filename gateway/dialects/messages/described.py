"""Messages as the OpenAPI document tells of them; an engine may add fields to its answers."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, JsonValue

from gateway.config.document import JsonObject
from gateway.dialects.description import (
    STRINGS,
    TOKENS,
    Description,
    ResponseUsage,
    closed,
    maybe,
)


class AnthropicErrorBody(BaseModel):
    type: str
    message: str


class AnthropicError(BaseModel):
    """Anthropic's envelope, on /v1/messages: `error` says what went wrong, beside the request's id."""

    type: Literal["error"]
    error: AnthropicErrorBody
    request_id: str


class Message(BaseModel):
    id: str
    type: Literal["message"]
    role: Literal["assistant"]
    content: list[dict[str, JsonValue]]
    model: str
    stop_reason: str | None = None
    usage: ResponseUsage


class TokenCount(BaseModel):
    input_tokens: int


class AnthropicModel(BaseModel):
    type: Literal["model"]
    id: str
    display_name: str
    created_at: str
    lifecycle: Literal["active"]


class AnthropicModels(BaseModel):
    data: list[AnthropicModel]
    has_more: bool
    first_id: str | None
    last_id: str | None


_SHARED: dict[str, JsonObject] = {
    "system": {"type": ["string", "array", "null"]},
    "stop_sequences": STRINGS,
    "thinking": maybe("object"),
    "output_config": closed(effort=maybe("string"), format=maybe("object")),
    "tool_choice": maybe("object"),
}
MESSAGES = Description(
    "createMessage",
    "Anthropic",
    "Answer a chat.",
    Message,
    ("model", "messages", "max_tokens"),
    {
        **_SHARED,
        "max_tokens": {**TOKENS, "type": "integer"},
        "metadata": closed(user_id=maybe("string", "Ties a user to one of a task's versions.")),
        "service_tier": {"enum": ["auto", "standard_only", None]},
    },
    AnthropicError,
)
_PROMPT = ("model", "messages")
COUNT_TOKENS = Description(
    "countTokens", "Anthropic", "Count a chat's tokens.", TokenCount, _PROMPT, _SHARED, AnthropicError
)
