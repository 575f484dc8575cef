"""Errors and models in Anthropic's form. Pure."""

from __future__ import annotations

import datetime
import re

import msgspec

from gateway.dialects.dialect import ListedModel

_encode = msgspec.json.Encoder().encode
KINDS = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    405: "invalid_request_error",
    408: "timeout_error",
    413: "request_too_large",
    415: "invalid_request_error",
    422: "invalid_request_error",
    429: "rate_limit_error",
    431: "request_too_large",
    503: "overloaded_error",
    504: "timeout_error",
}
"""An error's type by its status; all others are `api_error`."""

# Python's: of a whole answer the engine decodes a call's input, and what was sent to it was JSON.
_NO_JSON = re.compile(r": line \d+ column \d+ \(char \d+\)$")
_CUT_CALL = (
    "The answer calls a tool with an input that is no whole JSON, as a rule since max_tokens cut it off: "
    "send a larger max_tokens, or stream, which passes on what there is."
)


def reworded(message: str) -> str:
    """What the engine said of a request; where it could not read its own answer, what to do."""
    return _CUT_CALL if _NO_JSON.search(message) else message


def envelope(status: int, message: str, request_id: bytes) -> bytes:
    """Anthropic's form of an error."""
    return _encode(
        {
            "type": "error",
            "error": {"type": KINDS.get(status, "api_error"), "message": message},
            # A header's bytes, of which latin-1 has a character for each.
            "request_id": request_id.decode("latin-1"),
        }
    )


def model_entry(model: ListedModel) -> dict[str, object]:
    """A model; its name for people is what it does."""
    created = datetime.datetime.fromtimestamp(model.created, datetime.UTC)
    return {
        "type": "model",
        "id": model.id,
        "display_name": model.description or model.id,
        "created_at": created.isoformat().replace("+00:00", "Z"),
        "lifecycle": "active",
        "max_input_tokens": model.max_model_len,
        "max_tokens": model.max_model_len,
    }


def model_list(models: list[ListedModel]) -> dict[str, object]:
    """All models on one page."""
    ids: list[str | None] = [model.id for model in models] or [None]
    return {"data": [*map(model_entry, models)], "has_more": False, "first_id": ids[0], "last_id": ids[-1]}
