"""What a simulation comes to."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from launch.simulation.request import Request


class NoRequests(ValueError):
    """There is nothing to make figures of."""


@dataclass(frozen=True, slots=True)
class PolicyFigures:
    """Of the requests that came after the warm-up."""

    policy: str
    requests: int
    answered: int
    """Whose first token came before the end."""
    first_token_p50_s: float
    first_token_p99_s: float
    """Over all requests: one whose client left counts with its patience, and one that waits at the end with
    what it has waited."""
    goodput_per_s: float
    """Requests a second whose first token came within the bound."""
    good_share: float
    output_tokens_per_s: float
    """Of those that ended."""
    loads_per_minute: float
    """Of adapters into slots, on all replicas together."""


def figures_of(
    policy: str,
    requests: Sequence[Request],
    from_s: float,
    until_s: float,
    loads: int,
    slo_s: float,
    patience_s: float,
) -> PolicyFigures:
    """Of the requests from `from_s` on. Raises NoRequests where there is none."""
    counted = [one for one in requests if one.at_s >= from_s]
    if not counted:
        raise NoRequests("no request came after the warm-up, a fifth of the time")
    waits = [
        one.first_s - one.at_s if one.first_s >= 0 else min(patience_s, until_s - one.at_s) for one in counted
    ]
    good = sum(0 <= one.first_s <= one.at_s + slo_s for one in counted)
    window_s = until_s - from_s
    return PolicyFigures(
        policy=policy,
        requests=len(counted),
        answered=sum(one.first_s >= 0 for one in counted),
        first_token_p50_s=percentile(waits, 0.5),
        first_token_p99_s=percentile(waits, 0.99),
        goodput_per_s=good / window_s,
        good_share=good / len(counted),
        output_tokens_per_s=sum(one.output_tokens for one in counted if one.end_s >= 0) / window_s,
        loads_per_minute=loads / window_s * 60,
    )


def percentile(values: Sequence[float], share: float) -> float:
    """By nearest rank: a value that was seen. NaN of nothing."""
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)] if values else math.nan
