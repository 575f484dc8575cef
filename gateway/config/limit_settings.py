"""What a key, a tenant, a task or the whole gateway may have in a minute, at once, in a day and a month."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from gateway.config.strict import Positive, Seconds, Strict


class LimitConfig(Strict):
    """Bounds on requests and on tokens, prompt and answer together; what is not named is not bounded."""

    requests_per_minute: Positive | None = Field(
        None, description="requests; those of a whole minute may come at once"
    )
    tokens_per_minute: Positive | None = Field(
        None, description="tokens; those of a whole minute may come at once"
    )
    max_in_flight: Positive | None = Field(None, description="requests at once, in all workers together")
    tokens_per_day: Positive | None = Field(None, description="tokens of a day in UTC")
    tokens_per_month: Positive | None = Field(None, description="tokens of a month in UTC")
    on_limit: Literal["refuse", "wait"] = Field(
        "refuse", description="refuse: 429 with Retry-After; wait: in turn, until there is room"
    )
    max_wait_s: Seconds = Field(30.0, description="longest wait where on_limit is wait, then 429")

    @property
    def bounds_anything(self) -> bool:
        """Whether any of its bounds is set."""
        return any(
            bound is not None
            for bound in (
                self.requests_per_minute,
                self.tokens_per_minute,
                self.max_in_flight,
                self.tokens_per_day,
                self.tokens_per_month,
            )
        )
