"""OpenAI's `x-ratelimit-…` headers, from accounts as they stand: pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

from gateway.admission.quotas.account import Row
from gateway.admission.quotas.bucket import WINDOW_S
from gateway.admission.quotas.scopes import Scope

HeaderList = list[tuple[bytes, bytes]]

REQUESTS, TOKENS = (
    (b"x-ratelimit-limit-" + what, b"x-ratelimit-remaining-" + what, b"x-ratelimit-reset-" + what)
    for what in (b"requests", b"tokens")
)


def rate_headers(scopes: Sequence[Scope], rows: Sequence[Row]) -> HeaderList:
    """Of the first account that bounds requests a minute, and of the first that bounds tokens.

    `rows` are theirs, with what is left of the minute now.
    """
    requests: HeaderList = []
    tokens: HeaderList = []
    for scope, row in zip(scopes, rows, strict=True):
        most_requests, most_tokens, *_ = scope.bounds
        if most_requests is not None and not requests:
            requests = _lines(REQUESTS, most_requests, row[0])
        if most_tokens is not None and not tokens:
            tokens = _lines(TOKENS, most_tokens, row[2])
    return requests + tokens


def _lines(names: tuple[bytes, bytes, bytes], bound: float, left: float) -> HeaderList:
    limit, remaining, reset = names
    full_ms = math.ceil((bound - left) * WINDOW_S * 1000 / bound)
    return [(limit, _whole(bound)), (remaining, b"%d" % max(0.0, left)), (reset, _duration(full_ms))]


@lru_cache(1024)
def _whole(bound: float) -> bytes:
    return b"%d" % bound


@lru_cache(1024)
def _duration(ms: int) -> bytes:
    """As OpenAI writes it: `850ms`, `7s`, `6m0s`."""
    if ms < 1000:
        return b"%dms" % ms
    whole = math.ceil(ms / 1000)
    return b"%ds" % whole if whole < 60 else b"%dm%ds" % divmod(whole, 60)
