"""Requests that have their prompt scored, which an engine that is not known to bear it does not get.

vLLM 0.32 computes a prompt's log-probabilities with the LoRA slots of what is sampled beside it. Where an
lm_head may have an adapter, that ends an engine on a CPU, writes beyond its buffers on a GPU, or answers by
another request's adapter (`launch/engine/vllm_plugin/prompt_rows.py`).
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from gateway.dialects.request_body import Fields, given
from gateway.errors import InvalidRequest

ASKS = frozenset(("prompt_logprobs", "echo"))
"""Without one of them no prompt is scored."""


def check_scoring(fields: Fields, defaults: Mapping[str, msgspec.Raw]) -> None:
    """For an engine that is not known to bear it. Raises InvalidRequest for a request that asks for it.

    `defaults` are the task's own, which stand in for what `fields` leaves out.
    """
    if ASKS.isdisjoint(fields) and ASKS.isdisjoint(defaults):
        return
    name = _asks_by({**defaults, **fields})
    if name is not None:
        raise InvalidRequest(
            f"'{name}' would have the prompt scored, which the engine is not known to bear beside other "
            "requests: leave it out, or ask the operator about engines[].prompt_logprobs.",
            param=name,
            code="unsupported_parameter",
        )


def _asks_by(fields: Fields) -> str | None:
    """The parameter that has the prompt scored: vLLM takes `echo` with log-probabilities for it too.

    In a chat it takes it alone: `top_logprobs`, which it goes by there, is 0 where nobody says otherwise.
    """
    if given(fields, "prompt_logprobs"):
        return "prompt_logprobs"
    echoed = "echo" in fields and bytes(fields["echo"]) not in (b"false", b"null", b"0")
    return "echo" if echoed and ("messages" in fields or given(fields, "logprobs")) else None
