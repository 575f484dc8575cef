"""How many tokens a second each adapter is asked for, by what gateways have counted. Clockless."""

from __future__ import annotations

import math
from collections.abc import Mapping

FORGOTTEN_S = 60.0
"""Of what was asked for, after so long 37 % still count."""
LEAST_TOKENS = 0.01
"""Below it an adapter is not asked for any more."""


class Demand:
    """Every gateway tells what it has counted since its start; only what is new since its last word counts.

    Its first word here counts nothing: it may have run for days before this control plane, or the way to it,
    began anew.
    """

    def __init__(self) -> None:
        self._counted: dict[str, Mapping[str, int]] = {}
        self._tokens: dict[str, float] = {}
        self._at = 0.0

    def told(self, gateway: str, counted: Mapping[str, int], now: float) -> None:
        """A gateway's tokens by adapter; `now` in seconds of one clock."""
        self._age(now)
        before = self._counted.get(gateway, counted)
        for adapter_id, tokens in counted.items():
            more = tokens - before.get(adapter_id, 0)
            if more > 0:
                self._tokens[adapter_id] = self._tokens.get(adapter_id, 0.0) + more
        self._counted[gateway] = counted

    def left(self, gateway: str) -> None:
        """That gateway is gone; what was asked of it fades as the rest does."""
        self._counted.pop(gateway, None)

    def tokens_per_s(self, now: float) -> dict[str, float]:
        """By adapter, of those that were asked for of late."""
        self._age(now)
        return {adapter_id: tokens / FORGOTTEN_S for adapter_id, tokens in self._tokens.items()}

    def _age(self, now: float) -> None:
        left, self._at = math.exp(min(0.0, self._at - now) / FORGOTTEN_S), now
        faded = {one: tokens * left for one, tokens in self._tokens.items()}
        self._tokens = {one: rest for one, rest in faded.items() if rest >= LEAST_TOKENS}
