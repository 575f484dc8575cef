"""When a fallback answers, and what of a request it can be asked. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from gateway.config.document import FallbackReason, JsonObject
from gateway.dialects.chat.conversion import OF_A_CHAT
from gateway.dialects.chat.request_parts import CannotAsk, only
from gateway.dialects.dialect import Dialect
from gateway.errors import RequestError, TooManyRequests

ENGINE_GONE = frozenset({"engine_unreachable", "engine_not_running", "adapter_not_loaded"})

ASKED = OF_A_CHAT
"""OpenAI's parameters of a chat: LiteLLM maps each, or refuses what the provider has not."""

KEPT_BACK = frozenset({"model", "stream", "stream_options", "user", "metadata", "cache_salt", "session_id"})
"""Not for a third party, or said in another way; none of them changes an answer's text."""


@dataclass(frozen=True, slots=True)
class Unable:
    """A request that the fallback cannot honour, and why."""

    why: str


def reason_of(error: RequestError) -> FallbackReason | None:
    """Which of the policy's reasons an error is; None where it is the request's own."""
    if isinstance(error, TooManyRequests) or error.code == "overloaded":
        return "overload"
    if error.code == "engine_starting":
        return "cold"
    if error.code in ENGINE_GONE:
        return "failed"
    return None


def question(dialect: Dialect, body: JsonObject) -> JsonObject | Unable:
    """What the fallback is asked in a chat: the whole request, the task's contract in it, or nothing of it.

    `body` is what the engine would have got. Raises InvalidRequest.
    """
    try:
        chat = dialect.as_chat({key: value for key, value in body.items() if key not in KEPT_BACK})
        if chat.unsaid is not None:
            raise chat.unsaid
        assert dialect.conversion is not None
        only(chat.parameters, dialect.conversion.asked, "")
    except CannotAsk as error:
        return Unable(str(error))
    return chat.document
