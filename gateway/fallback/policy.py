"""When a fallback answers, and what of a request it can be asked. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from gateway.config import FallbackConfig, FallbackReason, JsonObject
from gateway.errors import RateLimited, RequestError

ENGINE_GONE = frozenset({"engine_unreachable", "engine_not_running", "adapter_not_loaded"})

ASKED: Mapping[str, frozenset[str]] = {
    "chat": frozenset(
        {
            *("messages", "temperature", "top_p", "n", "max_tokens", "max_completion_tokens", "stop", "seed"),
            *("presence_penalty", "frequency_penalty", "logit_bias", "logprobs", "top_logprobs"),
            *("response_format", "tools", "tool_choice", "parallel_tool_calls", "reasoning_effort"),
        }
    ),
    "completions": frozenset(
        {
            *("prompt", "temperature", "top_p", "n", "max_tokens", "stop", "seed", "echo", "logprobs"),
            *("presence_penalty", "frequency_penalty", "logit_bias"),
        }
    ),
}
"""By the dialect's name, OpenAI's parameters: LiteLLM maps each, or refuses what the provider has not."""

KEPT_BACK = frozenset({"model", "stream", "stream_options", "user", "cache_salt", "session_id"})
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
    """What the fallback is asked: the whole request, the task's contract in it, or nothing of it.

    `body` is what the engine would have got; `labels` are parameters that change nothing in an answer.
    """
    known = ASKED.get(dialect)
    if known is None:
        return Unable(f"requests on this route ({dialect}) have none")
    asked: JsonObject = {}
    for key, value in body.items():
        if key in known:
            asked[key] = value
        elif key not in KEPT_BACK and key not in labels and value is not None:
            return Unable(f"it cannot honour '{key}'")
    return asked
