"""Every term in exactly one element, whatever a model writes."""

from __future__ import annotations

import asyncio
import random

import pytest
from pydantic import JsonValue

from gateway.config.document import JsonObject
from gateway.pipeline.inputs import read_input
from gateway.pipeline.settling.partition import Partition
from gateway.pipeline.terms import in_slices
from tests.support.pipeline_script import chat

# Prefixes of others, forms of Unicode that look alike, cases, what JSON escapes, and a word twice.
WORDS = ["car", "carpet", "car park", "CAR", "café", "cafe\u0301", "ﬁsh", "fish", "ß", "ss", "I", "ı"]
WORDS += ["İ", "🦆", "鳥", 'a"b', "c\\d", "car", "x\ny", "\u212b", "Å", "a\u0301", "á"]


def members_of(elements: list[JsonValue]) -> list[list[JsonValue]]:
    found = []
    for element in elements:
        assert isinstance(element, dict)
        members = element["members"]
        assert isinstance(members, list)
        found.append(members)
    return found


def settled(
    terms: list[str], first: list[JsonObject], more: list[JsonObject], most: int = 16
) -> tuple[Partition, list[JsonValue]]:
    """What a stream would be given, in order."""
    partition = Partition(terms, "members", most)
    given: list[JsonValue] = []
    for element in first:
        item = partition.take(dict(element))
        if item is not None:
            given.append(item)
    given.extend(partition.close([dict(element) for element in more]))
    return partition, given


def group(*members: JsonValue, **more: JsonValue) -> JsonObject:
    return {"members": list(members), "definition": "d", **more}


def anything(rng: random.Random, terms: list[str]) -> JsonObject:
    """An element as a model might write it: in the schema or out of it."""
    if rng.random() < 0.05:
        wild: list[JsonValue] = [None, "car", 3, {}, []]
        return {"members": rng.choice(wild)}
    others: list[JsonValue] = ["invented", "", None, 7, ["car"], *(word.swapcase() for word in terms)]
    members = [
        rng.choice(terms) if rng.random() < 0.85 else rng.choice(others) for _ in range(rng.randrange(7))
    ]
    return group(*members)


@pytest.mark.parametrize("seed", range(20))
def test_every_term_stands_in_exactly_one_element_whatever_comes(seed: int) -> None:
    rng = random.Random(seed)
    for _ in range(200):
        listed = rng.choices(WORDS, k=rng.randint(1, 14))
        terms = list(dict.fromkeys(listed))  # as an input is read
        first = [anything(rng, terms) for _ in range(rng.randrange(8))]
        more = [anything(rng, terms) for _ in range(rng.randint(1, 4))]
        most = rng.randint(1, 9)
        partition, given = settled(terms, first, more, most)
        placed = [member for members in members_of(given) for member in members]
        assert sorted(map(str, placed)) == sorted(terms), (terms, first, more, most)
        assert all(members_of(given)), "an element without members"
        assert len(given) <= most
        assert partition.left == []
        assert members_of(partition.elements) == members_of(given)
        assert {str(one["was"]) for one in partition.settled if isinstance(one, dict)} <= {
            "repeated",
            "left out",
            "no term",
        }


def test_what_was_given_is_never_changed_again() -> None:
    partition = Partition(["a", "b", "c"], "members", 16)
    first = partition.take(group("a"))
    assert first == group("a")
    second = partition.take(group("a", "b", name="n"))
    assert second == group("b", name="n")
    assert partition.take(group("b", "a")) is None
    assert partition.left == ["c"]
    assert partition.close([group("c")]) == [group("c")]
    assert (first, second) == (group("a"), group("b", name="n"))
    assert partition.settled == [
        {"term": "a", "was": "repeated"},
        {"term": "b", "was": "repeated"},
        {"term": "c", "was": "left out"},
    ]


def test_a_sound_answer_is_passed_on_as_it_is() -> None:
    elements = [group("a", "c", note=[1]), group("b")]
    partition, given = settled(["a", "b", "c"], elements, [])
    assert given == partition.elements == elements
    assert partition.settled == []
    assert not partition.asks


def test_the_last_element_that_there_may_be_takes_what_no_other_has() -> None:
    partition = Partition(["a", "b", "c", "d"], "members", 2)
    assert partition.take(group("a")) == group("a")
    assert partition.take(group("b")) is None  # held: it is not known yet what is left
    assert not partition.asks
    assert partition.close([]) == [group("b", "c", "d")]
    full = Partition(["a", "b"], "members", 2)
    full.take(group("a"))
    assert full.take(group("b")) == group("b")  # nothing is left, so nothing is waited for


def test_what_is_left_out_once_more_goes_to_the_last_element_of_its_own() -> None:
    _, given = settled(["a", "b", "c", "d"], [group("a")], [group("b"), group("c", "a")])
    assert given == [group("a"), group("b"), group("c", "d")]
    _, given = settled(["a", "b"], [group("a")], [group("a", definition="of b")])
    assert given == [group("a"), group("b", definition="of b")]


def test_another_spelling_of_a_term_is_that_term() -> None:
    partition, given = settled(["Apple", "car park", "ß"], [group("apple", "Car  Park", "SS", "pear")], [])
    assert given == [group("Apple", "car park", "ß")]
    assert partition.settled == [{"term": "pear", "was": "no term"}]


def test_without_terms_each_text_counts_once() -> None:
    partition, given = settled([], [group("a", "b", "a"), group("b"), group("c", 3)], [])
    assert given == [group("a", "b"), group("c")]
    assert not partition.asks


def test_without_any_element_the_terms_are_left() -> None:
    partition, given = settled(["a"], [], [])
    assert (given, partition.left) == ([], ["a"])


def test_equal_terms_of_an_input_are_one() -> None:
    given = asyncio.run(in_slices(read_input(chat('["car", "car ", "CAR"]'), "p", 9)))
    assert [term.term for term in given.terms] == ["car", "CAR"]
