"""Chats and completions as the OpenAPI document tells of them; an engine may add fields to its answers."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field, JsonValue

from gateway.dialects.description import Description, Usage, maybe


class ChatMessage(BaseModel):
    role: Literal["assistant"]
    content: str | None = None
    tool_calls: list[dict[str, JsonValue]] | None = None


class ChatChoice(BaseModel):
    index: int
    message: ChatMessage
    finish_reason: str | None
    logprobs: JsonValue = None


class ChatCompletion(BaseModel):
    id: str
    object: Literal["chat.completion"]
    created: int
    model: str = Field(description="the adapter's id, such as naming@3f2a9c1b04de")
    choices: list[ChatChoice]
    usage: Usage


class TextChoice(BaseModel):
    index: int
    text: str
    finish_reason: str | None
    logprobs: JsonValue = None


class TextCompletion(BaseModel):
    id: str
    object: Literal["text_completion"]
    created: int
    model: str
    choices: list[TextChoice]
    usage: Usage


CHAT = Description("createChatCompletion", "OpenAI", "Answer a chat.", ChatCompletion, ("model", "messages"))
_OWN = {
    "logprobs": maybe("integer", "gateway.max_logprobs bounds it.", minimum=0),
    "max_tokens": maybe("integer", "From 1 to the model's context; 0 with echo.", minimum=0),
}
TEXT = Description(
    "createCompletion", "OpenAI", "Complete a text.", TextCompletion, ("model", "prompt"), _OWN
)
