"""Responses as the OpenAPI document tells of them; an engine may add fields to its answers."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, JsonValue

from gateway.dialects.description import (
    STRINGS,
    TOKENS,
    UNPADDED,
    Description,
    ResponseUsage,
    closed,
    maybe,
)


class Response(BaseModel):
    id: str
    object: Literal["response"]
    created_at: float
    status: str
    model: str
    output: list[dict[str, JsonValue]]
    usage: ResponseUsage | None = None


RESPONSES = Description(
    "createResponse",
    "OpenAI",
    "Answer; nothing is kept.",
    Response,
    ("model", "input"),
    {
        "max_output_tokens": TOKENS,
        "instructions": maybe("string"),
        "include": STRINGS,
        "text": closed(format=maybe("object"), verbosity={"enum": ["medium", None]}),
        "reasoning": closed(
            effort=maybe("string"), summary=maybe("string"), generate_summary=maybe("string")
        ),
        "truncation": maybe("string"),
        "background": {"enum": [False, None]},
        "stream_options": closed(include_obfuscation=UNPADDED),
    },
)
