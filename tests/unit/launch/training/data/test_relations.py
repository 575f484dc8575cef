"""What `relationship` and `attribute` are trained on, and that it is not what they are measured with."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter

import pytest

from launch.training.data.attributes import (
    AttributeSplit,
    attribute_held_out,
    attribute_training,
)
from launch.training.data.relations import (
    RELATIONS,
    Pair,
    RelationSplit,
    relation_example,
    relation_held_out,
    relation_split,
    relation_training,
)
from launch.training.data.wordnet import WordNet
from launch.training.evaluate import read_held_out


@pytest.fixture(scope="module")
def relations(nets: tuple[WordNet, WordNet]) -> RelationSplit:
    return relation_split(*nets)


def test_a_pair_turned_has_the_inverse_relation() -> None:
    pair = Pair("dog", "animal", "is a kind of")
    plain, turned = (relation_example(pair, turned=turned) for turned in (False, True))
    assert (plain.prompt, plain.answer) == ("dog, animal", "is a kind of")
    assert (turned.prompt, turned.answer) == ("animal, dog", "has the kind")


def test_held_out_files_are_those_the_code_builds(
    relations: RelationSplit, attributes: AttributeSplit
) -> None:
    assert relation_held_out(relations, 225) == read_held_out("relationship", None)
    assert attribute_held_out(attributes, 200) == read_held_out("attribute", None)


def test_training_is_the_same_for_the_same_seed(relations: RelationSplit, attributes: AttributeSplit) -> None:
    assert (
        relation_training(relations, 1) == relation_training(relations, 1) != relation_training(relations, 2)
    )
    assert attribute_training(attributes, 1) == attribute_training(attributes, 1)


def test_no_held_out_term_is_trained(relations: RelationSplit) -> None:
    trained = {term for example in relation_training(relations, 7) for term in example.prompt.split(", ")}
    for example in read_held_out("relationship", None):
        assert trained.isdisjoint(example.prompt.split(", "))


def test_every_relation_is_trained_and_measured(relations: RelationSplit) -> None:
    assert {example.answer for example in relation_training(relations, 7)} == set(RELATIONS)
    measured = Counter(example.answer for example in read_held_out("relationship", None))
    assert set(measured) == set(RELATIONS)
    assert max(measured.values()) <= 25


def test_no_pair_has_two_relations(relations: RelationSplit) -> None:
    answers: dict[str, set[str]] = {}
    for example in relation_training(relations, 7):
        answers.setdefault(example.prompt, set()).add(example.answer)
    assert all(len(found) == 1 for found in answers.values())


@pytest.mark.usefixtures("nets")
def test_the_command_writes_lines_and_stops_at_a_count() -> None:
    command = [sys.executable, "-m", "launch.training.data.tasks", "attribute", "--held-out", "--count", "2"]
    lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    assert lines == [example.as_json() for example in read_held_out("attribute", 2)]
