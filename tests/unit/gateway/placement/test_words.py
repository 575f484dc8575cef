"""Each adapter's homes are explained in a sentence."""

from __future__ import annotations

import pytest

from gateway.placement.needs import Need
from gateway.placement.rules import Rules
from gateway.placement.words import reason

RULES = Rules(min_replicas=2, engine_tokens_per_s=200)


NEEDED = "which is what its traffic needs."
GIVEN_UP = "one is given up once the others have room to spare."
WARM = "50 tokens/s, 25% of what one engine gives"
HOT = "300 tokens/s, 150% of what one engine gives"


@pytest.mark.parametrize(
    ("tokens_per_s", "need", "homes", "said"),
    [
        (0, Need(1, 1), "a", f"Nobody asks for it now: it is kept on 1 engine, {NEEDED}"),
        (50, Need(2, 2), "ab", f"{WARM}: 2 engines, the least that each adapter has."),
        (300, Need(3, 3), "abc", f"{HOT}: 3 engines, {NEEDED}"),
        (300, Need(3, 3), "ab", f"{HOT}: 2 engines, 1 fewer than needed, until moves or slots allow more."),
        (300, Need(3, 5), "abcd", f"{HOT}: 4 engines, more than its traffic needs now; {GIVEN_UP}"),
        (300, Need(0, 0), "", "No engine with a LoRA slot takes requests."),
    ],
)
def test_the_sentence_says_what_the_count_hangs_on(
    tokens_per_s: float, need: Need, homes: str, said: str
) -> None:
    assert reason(tokens_per_s, need, list(homes), RULES) == said


def test_without_a_speed_it_gives_no_share() -> None:
    assert reason(50, Need(1, 1), ["a"], Rules()) == "50 tokens/s: 1 engine, which is what its traffic needs."
