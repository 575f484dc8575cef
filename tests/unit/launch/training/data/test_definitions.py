"""WordNet's glosses cut to a bound: clauses, and whole sentences."""

from __future__ import annotations

import pytest

from launch.training.data.definitions import SENTENCE_WORDS, sentence, shorten


def test_a_clause_ends_at_its_mark_or_its_bound_without_a_hanging_word() -> None:
    assert shorten("a small fruit; red", 8) == "a small fruit"
    assert shorten("a member of the family of cats", 6) == "a member of the family"


@pytest.mark.parametrize(
    ("gloss", "said"),
    [
        ("a small fruit; red", "A small fruit."),
        ("any of many long-legged birds that wade", "Any of many long-legged birds that wade."),
        ("the act of", "The act."),
    ],
)
def test_a_sentence_begins_with_a_capital_and_ends_with_a_full_stop(gloss: str, said: str) -> None:
    assert sentence(gloss) == said


def test_a_long_gloss_ends_before_a_clause_and_not_within_one() -> None:
    long = "a large vessel for carrying goods by sea that has two or more decks above the line of the water"
    assert sentence(long, 16) == "A large vessel for carrying goods by sea that has two."
    assert sentence(long, 9) == "A large vessel for carrying goods by sea."


def test_without_a_clause_it_ends_at_its_bound() -> None:
    assert sentence("one two three four five six", 4) == "One two three four."


def test_a_sentence_keeps_to_its_words() -> None:
    longest = sentence(" ".join(["abcdefghi"] * 40))
    assert len(longest.split()) == SENTENCE_WORDS
    assert longest.endswith("i.")
