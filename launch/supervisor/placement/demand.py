"""How many tokens a second each adapter is asked for, by what gateways have counted. Clockless."""

from __future__ import annotations

from collections.abc import Mapping

from gateway.placement.fading import FadingRate


class Demand:
    """Every gateway tells what it has counted since its start; only what is new since its last word counts.

    Its first word here counts nothing: it may have run for days before this control plane, or the way to it,
    began anew. With the first of all the time begins that rates are taken over.
    """

    def __init__(self) -> None:
        self._counted: dict[str, Mapping[str, int]] = {}
        self._rate = FadingRate()

    def told(self, gateway: str, counted: Mapping[str, int], now: float) -> None:
        """A gateway's tokens by adapter; `now` in seconds of one clock."""
        self._rate.begin(now)
        before = self._counted.get(gateway, counted)
        for adapter_id, tokens in counted.items():
            more = tokens - before.get(adapter_id, 0)
            if more > 0:
                self._rate.add(adapter_id, more, now)
        self._counted[gateway] = counted

    def left(self, gateway: str) -> None:
        """That gateway is gone; what was asked of it fades as the rest does."""
        self._counted.pop(gateway, None)

    def tokens_per_s(self, now: float) -> dict[str, float]:
        """By adapter, of those that were asked for of late."""
        return self._rate.tokens_per_s(now)
