"""What `concept` is trained on."""

from __future__ import annotations

import itertools
import json

from launch.training.data.concept import concept_answer
from launch.training.data.nouns import Split, Task
from launch.training.data.tasks import training_examples
from launch.training.data.wordnet import WordNet
from launch.training.evaluate import read_held_out
from launch.training.scores import parse_groups


def test_concept_answer_is_compact_json() -> None:
    assert concept_answer([(["a", "b"], "d")]) == '{"concepts":[{"members":["a","b"],"definition":"d"}]}'


def test_no_held_out_group_or_term_is_trained(splits: dict[Task, Split]) -> None:
    groups = {group.synset.offset for group in splits["concept"].train}
    terms = {member.name for group in splits["concept"].train for member in group.members}
    for example in read_held_out("concept", None):
        assert groups.isdisjoint(example.synsets)
        assert terms.isdisjoint(example.terms)


def test_a_concept_answer_groups_every_term_in_the_order_given(
    net: WordNet, splits: dict[Task, Split]
) -> None:
    for example in itertools.islice(training_examples("concept", net, splits["concept"], 5), 100):
        groups = parse_groups(example.answer)
        assert groups is not None
        place = {term: at for at, term in enumerate(example.terms)}
        assert sorted(itertools.chain(*groups)) == sorted(example.terms)
        assert [line.split(":")[0] for line in example.prompt.splitlines()] == list(example.terms)
        assert all(group == sorted(group, key=place.__getitem__) for group in groups)
        assert groups == sorted(groups, key=lambda group: place[group[0]])


def test_a_definition_is_open_in_training_and_in_nothing_that_is_measured(
    net: WordNet, splits: dict[Task, Split]
) -> None:
    for example in itertools.islice(training_examples("concept", net, splits["concept"], 5), 20):
        concepts = json.loads(example.answer)["concepts"]
        assert example.open == tuple(concept["definition"] for concept in concepts)
    assert not any(example.open for example in read_held_out("concept", None))
