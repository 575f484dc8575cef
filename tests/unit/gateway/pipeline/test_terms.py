"""Terms of an input, found in slices: the same whichever way they are run."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from gateway.errors import InvalidRequest
from gateway.pipeline.terms import SLICE, Term, distinct, in_slices, terms_in_text, terms_of
from tests.support.steps import at_once


def names(terms: Any) -> list[str]:
    return [term.term for term in terms]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("apple, pear; plum", ["apple", "pear", "plum"]),
        ("apple,pear;plum,", ["apple", "pear", "plum"]),
        ("apple,sour cherry", ["apple", "sour cherry"]),
        ("N,N-xylidine, Washington,DC", ["N,N-xylidine", "Washington,DC"]),
        ("2,4,6-trichlorophenol", ["2,4,6-trichlorophenol"]),
        ("Group these: apple, pear, plum", ["apple", "pear", "plum"]),
        ("Terms: apple,pear,plum", ["apple", "pear", "plum"]),
        ("apple: a round, red fruit", ["apple"]),
        ("- apple\n- pear", ["apple", "pear"]),
        ("Fruit:\napple\npear", ["apple", "pear"]),
        ("1) apple\n2) pear", ["apple", "pear"]),
        ("Group these terms into concepts that make sense to a reader, please.", []),
        ("", []),
    ],
)
def test_terms_of_plain_text(text: str, found: list[str]) -> None:
    assert names(at_once(terms_in_text(text))) == found


def test_gloss_stands_behind_a_colon_or_a_tab() -> None:
    assert at_once(terms_in_text("apple: a fruit\npear\ta fruit too")) == [
        Term("apple", "a fruit"),
        Term("pear", "a fruit too"),
    ]


def test_terms_of_json_and_a_list_that_mixes_them_is_refused_with_the_place() -> None:
    assert names(at_once(terms_of({"items": ["a", {"term": " b ", "gloss": ""}]}))) == ["a", "b"]
    assert at_once(terms_of([1, 2])) == []
    with pytest.raises(InvalidRequest, match="element 1 of the list"):
        at_once(terms_of(["a", 5]))


def test_each_term_once_and_a_later_gloss_serves_it() -> None:
    given = [Term("a"), Term("b"), Term("a", "gloss"), Term(""), Term("a", "other")]
    assert at_once(distinct(given)) == (Term("a", "gloss"), Term("b"))


def test_long_list_gives_way_in_between() -> None:
    count = 4 * SLICE
    steps = terms_of([str(number) for number in range(count)])
    pauses = list(steps)  # what they come to is not among what they give
    assert len(pauses) == 4
    assert not list(terms_of(["a", "b"]))  # nothing is gained by a pause there
    assert len(asyncio.run(in_slices(terms_of([str(number) for number in range(count)])))) == count
