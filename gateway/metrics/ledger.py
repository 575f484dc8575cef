"""What requests have used since it was last written down: in memory, and as cheap as an entry of a dict."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

Account: TypeAlias = "tuple[str, str, str]"
"""A key's name (empty without keys), the task, and the adapter's id (empty for a pipeline's own request)."""

FIGURES = (
    "requests",
    "stage_calls",
    "prompt_tokens",
    "completion_tokens",
    "cut_off",
    "cut_off_events",
)
"""What stands in an account's list, in this order.

`stage_calls` are those of a pipeline, which is one request. `cut_off`: of both, those that ended before the
engine said what they took, since their client left or something failed; `cut_off_events` of their streams had
come until then, with vLLM about one per token.
"""
REQUESTS, STAGE_CALLS, PROMPT_TOKENS, COMPLETION_TOKENS, CUT_OFF, CUT_OFF_EVENTS = range(len(FIGURES))


class Ledger(dict[Account, list[int]]):
    """Figures by account; one that is new begins at 0."""

    def __missing__(self, account: Account) -> list[int]:
        figures = self[account] = [0] * len(FIGURES)
        return figures

    def add(self, other: Mapping[Account, list[int]]) -> None:
        """Take over what another has counted."""
        for account, counted in other.items():
            figures = self[account]
            for at, count in enumerate(counted):
                figures[at] += count
