"""What named groups are worth."""

from __future__ import annotations

import json

import pytest

from launch.training.concept_scores import (
    NamedGroup,
    is_sentence,
    name_given,
    named_groups,
    pipeline_scores,
)
from launch.training.examples import Example

FRUIT = NamedGroup("Fruit", "What is eaten.", ("apple", "pear"))
EXAMPLE = Example(
    "p",
    "a",
    terms=("apple", "pear", "bus", "tram"),
    groups=(("apple", "pear"), ("bus", "tram")),
    names=(("fruit",), ("vehicle", "public transport")),
)


def test_a_right_answer_has_all() -> None:
    groups = [FRUIT, NamedGroup("public transport", "What drives.", ("bus", "tram"))]
    scores = dict(pipeline_scores(EXAMPLE, groups))
    assert scores.pop("exact names") == 0.5
    assert set(scores.values()) == {1.0}


def test_terms_twice_or_nowhere_equal_names_and_broken_sentences_cost() -> None:
    groups = [FRUIT, NamedGroup("fruit", "a thing of the.", ("bus", "apple"))]
    scores = pipeline_scores(EXAMPLE, groups)
    assert scores["terms in exactly one group"] == 0.5
    assert scores["names that differ"] == 0.5
    assert scores["definitions that end as a sentence"] == 0.5
    assert scores["acceptable names"] == 0.5


def test_no_answer_is_worth_nothing() -> None:
    assert set(pipeline_scores(EXAMPLE, []).values()) == {0.0}
    assert "exact names" not in pipeline_scores(Example("p", "a", terms=("a",), groups=(("a",),)), [])


def test_a_name_counts_for_the_group_that_shares_most_of_its_terms() -> None:
    assert name_given([FRUIT], ("apple", "pear")) == "fruit"
    assert name_given([FRUIT], ("apple", "pear", "plum")) == "fruit"
    assert name_given([FRUIT], ("apple", "pear", "plum", "fig")) is None


@pytest.mark.parametrize("text", ["", "[" * 100_000, "[]", "{}", '{"concepts":[{}]}', '{"concepts":null}'])
def test_what_is_no_document_has_no_groups(text: str) -> None:
    assert named_groups(text) is None


def test_a_document_is_read_and_a_name_that_failed_is_empty() -> None:
    one = {"name": None, "definition": "d", "members": ["a"]}
    assert named_groups(json.dumps({"concepts": [one]})) == [NamedGroup("", "d", ("a",))]


@pytest.mark.parametrize("text", ["One that swims", "It is of the.", "Swims.", ""])
def test_a_sentence_is_whole(text: str) -> None:
    assert not is_sentence(text)
    assert is_sentence("One that swims.")
