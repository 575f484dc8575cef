"""How long a request lets its answer be."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from gateway.admission.quotas.quotas import ANSWER_TOKENS

# The first as vLLM goes by it where a chat has both.
LENGTHS = ("max_completion_tokens", "max_tokens", "max_output_tokens")


def answer_tokens(*given: Mapping[str, msgspec.Raw]) -> int:
    """Of one answer, as the first of `given` says: the request, else its task; else what is usual."""
    for fields in given:
        for name in LENGTHS:
            value = fields.get(name)
            if value is not None and bytes(value).isdigit():
                return int(bytes(value))
    return ANSWER_TOKENS
