"""When a fallback answers, and what of a request it can be asked. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from pydantic import JsonValue

from gateway.config.document import FallbackConfig, FallbackReason, JsonObject
from gateway.dialects.messages.to_chat import chat_of_message
from gateway.dialects.request_parts import TEXT_ONLY, CannotAsk, only
from gateway.dialects.responses.to_chat import chat_of_response
from gateway.errors import RateLimited, RequestError

ENGINE_GONE = frozenset({"engine_unreachable", "engine_not_running", "adapter_not_loaded"})

SAMPLING = frozenset(
    {
        *("temperature", "top_p", "n", "max_tokens", "stop", "seed"),
        *("presence_penalty", "frequency_penalty", "response_format"),
    }
)
ASKED: Mapping[str, frozenset[str]] = {
    "chat": SAMPLING
    | {
        *("messages", "max_completion_tokens", "logprobs", "top_logprobs", "reasoning_effort"),
        *("tools", "tool_choice", "parallel_tool_calls"),
    },
    "completions": SAMPLING | {"prompt"},
}
"""By the dialect's name, OpenAI's parameters: LiteLLM maps each, or refuses what the provider has not.

A token's number (`logit_bias`) means another word to another model.
"""

KEPT_BACK = frozenset({"model", "stream", "stream_options", "user", "metadata", "cache_salt", "session_id"})
"""Not for a third party, or said in another way; none of them changes an answer's text."""


@dataclass(frozen=True, slots=True)
class Unable:
    """A request that the fallback cannot honour, and why."""

    why: str


def reason_of(error: RequestError) -> FallbackReason | None:
    """Which of the policy's reasons an error is; None where it is the request's own."""
    if isinstance(error, RateLimited) or error.code == "overloaded":
        return "overload"
    if error.code == "engine_starting":
        return "cold"
    if error.code in ENGINE_GONE:
        return "failed"
    return None


def covers(fallback: FallbackConfig, reason: FallbackReason) -> bool:
    return reason in fallback.when


def question(dialect: str, labels: frozenset[str], body: JsonObject) -> JsonObject | Unable:
    """What the fallback is asked in a chat: the whole request, the task's contract in it, or nothing of it.

    `body` is what the engine would have got; `labels` are parameters that change nothing in an answer.
    """
    chat_of = _CHATS.get(dialect)
    if chat_of is None:
        return Unable(f"requests on this route ({dialect}) have none")
    unlabelled: JsonObject = {
        key: value
        for key, value in body.items()
        if key not in KEPT_BACK and key not in labels and value is not None
    }
    try:
        return chat_of(unlabelled)
    except CannotAsk as error:
        return Unable(str(error))


def _chat_of_chat(body: JsonObject) -> JsonObject:
    asked = only(body, ASKED["chat"], "")
    if not _only_text(asked.get("messages")):
        raise CannotAsk(TEXT_ONLY)
    return asked


def _chat_of_prompt(body: JsonObject) -> JsonObject:
    """A prompt becomes a user's message: LiteLLM's own way for text opens a connection for each call."""
    asked = only(body, ASKED["completions"], "")
    prompt = asked.pop("prompt", None)
    if isinstance(prompt, list) and len(prompt) == 1:
        prompt = prompt[0]
    if not isinstance(prompt, str):
        raise CannotAsk("it takes one prompt of text only")
    asked["messages"] = [{"role": "user", "content": prompt}]
    return asked


_CHATS: Mapping[str, Callable[[JsonObject], JsonObject]] = {
    "chat": _chat_of_chat,
    "completions": _chat_of_prompt,
    "messages": chat_of_message,
    "responses": chat_of_response,
}
"""By the dialect's name; each raises CannotAsk."""


def _only_text(messages: JsonValue) -> bool:
    """A picture's address would be fetched by LiteLLM, from within this process."""
    if not isinstance(messages, list):
        return False
    for message in messages:
        content = message.get("content") if isinstance(message, dict) else 0
        parts = content if isinstance(content, list) else []
        if not isinstance(content, (str, list, type(None))):
            return False
        if not all(isinstance(part, dict) and part.get("type") == "text" for part in parts):
            return False
    return True
