"""What an API's requests are as chats, what a chat's answer is in that API, and what an answer says."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from gateway.config.document import JsonObject
from gateway.dialects.chat.as_chat import AsChat
from gateway.dialects.chat.from_chat import Rendering
from gateway.dialects.chat.said import Reader

OF_ANY_API = frozenset(
    {
        *("temperature", "top_p", "max_tokens", "max_completion_tokens", "stop", "seed"),
        *("presence_penalty", "frequency_penalty", "response_format", "reasoning_effort"),
        *("tools", "tool_choice", "parallel_tool_calls"),
    }
)
OF_A_CHAT = OF_ANY_API | {"n", "logprobs", "top_logprobs"}


@dataclass(frozen=True, slots=True)
class Conversion:
    """What one API has for a fallback and a pipeline: requests read as chats, and chats' answers written."""

    read: Callable[[JsonObject], AsChat]
    """A request as a chat; of parameters that are none of a chat's, only what asks for nothing is left out.

    Raises CannotAsk for a parameter whose value a chat cannot say, InvalidRequest for one that is missing.
    """
    rendering: Callable[[str, JsonObject, bool], Rendering]
    """How an answer is written: of the request's id, its body, and whether a stream's usage is wanted."""
    reader: Callable[[], Reader]
    """How an answer is read that is compared with another one."""
    asked: frozenset[str] = OF_ANY_API
    """Parameters of a chat that mean the same to any model, and that an answer here can say the outcome of.

    A token's number (`logit_bias`) means another word to another model.
    """
