"""OpenAI's `x-ratelimit-…` headers, from accounts as they stand: pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

from gateway.admission.quotas.account import Row
from gateway.admission.quotas.bucket import WINDOW_S
from gateway.admission.quotas.scopes import Scope

_OF_ROW = ((b"requests", "requests_per_minute", 0), (b"tokens", "tokens_per_minute", 2))
"""What is told of, by which bound, and where a row has what is left of it."""


class RateLines:
    """What a request's accounts tell its client, of which only what is left changes."""

    __slots__ = ("_told",)

    def __init__(self, scopes: Sequence[Scope]) -> None:
        """Of the first account that bounds requests a minute, and of the first that bounds tokens."""
        told: list[tuple[bytes, int, int, float]] = []
        for what, name, field in _OF_ROW:
            bounds = ((place, getattr(scope.bounds, name)) for place, scope in enumerate(scopes))
            for place, bound in bounds:
                if bound is not None:
                    told.append((_lines(what, bound), place, field, bound))
                    break
        self._told = tuple(told)

    def block(self, rows: Sequence[Row]) -> bytes:
        """Whole header lines. `rows` are the accounts', with what is left of the minute now."""
        block = b""
        for lines, place, field, bound in self._told:
            left = rows[place][field]
            full_ms = math.ceil((bound - left) * WINDOW_S * 1000 / bound)
            block += lines % (left if left > 0 else 0, _duration(full_ms))
        return block


def _lines(what: bytes, bound: float) -> bytes:
    """To be filled with what is left, and with how long until all is there again."""
    lines = b"x-ratelimit-limit-%b: %d\r\nx-ratelimit-remaining-%b: %%d\r\nx-ratelimit-reset-%b: %%b\r\n"
    return lines % (what, bound, what, what)


@lru_cache(1024)
def _duration(ms: int) -> bytes:
    """As OpenAI writes it: `850ms`, `7s`, `6m0s`."""
    if ms < 1000:
        return b"%dms" % ms
    whole = math.ceil(ms / 1000)
    return b"%ds" % whole if whole < 60 else b"%dm%ds" % divmod(whole, 60)
