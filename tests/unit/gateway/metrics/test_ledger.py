"""Figures by account, begun at 0 and added up."""

from __future__ import annotations

from gateway.metrics.ledger import FIGURES, PROMPT_TOKENS, Ledger


def test_an_account_begins_at_0_and_adds_up() -> None:
    one, other = Ledger(), Ledger()
    one["a", "naming", "n@1"][PROMPT_TOKENS] += 2
    other["a", "naming", "n@1"][PROMPT_TOKENS] += 3
    other["b", "naming", ""][0] += 1
    one.add(other)
    assert one == {("a", "naming", "n@1"): [0, 0, 5, 0, 0, 0], ("b", "naming", ""): [1, 0, 0, 0, 0, 0]}
    assert other["a", "naming", "n@1"][PROMPT_TOKENS] == 3
    assert len(FIGURES) == 6
