"""What the demo's adapters are trained on, and that it is not what they are measured with."""

from __future__ import annotations

import itertools
import json
import random
from pathlib import Path

import pytest

from launch.training.data.nouns import (
    Split,
    Task,
    cluster_synsets,
    cluster_terms,
    concept_answer,
    held_out_examples,
    leaks,
    naming_example,
    split_task,
    training_examples,
)
from launch.training.data.wordnet import DEFAULT_FOLDER, WordNet, read_wordnet
from launch.training.evaluate import read_held_out
from launch.training.scores import parse_groups

CLUSTERS = Path(__file__).parents[5] / "configs" / "demo" / "clusters.jsonl"


TASKS: tuple[Task, ...] = ("concept", "naming")


@pytest.fixture(scope="module")
def net() -> WordNet:
    if not (DEFAULT_FOLDER / "data.noun").is_file():
        pytest.skip("WordNet is not installed (wordnet-base)")
    return read_wordnet()


@pytest.fixture(scope="module")
def splits(net: WordNet) -> dict[Task, Split]:
    return {task: split_task(task, net, CLUSTERS) for task in TASKS}


def test_leaks_finds_a_name_by_its_stem() -> None:
    assert leaks(("swimmer",), "one who swims")
    assert not leaks(("swimmer",), "one who runs")


def test_concept_answer_is_compact_json() -> None:
    assert concept_answer([(["a", "b"], "d")]) == '{"concepts":[{"members":["a","b"],"definition":"d"}]}'


@pytest.mark.parametrize("task", TASKS)
def test_training_data_is_the_same_for_the_same_seed(
    net: WordNet, splits: dict[Task, Split], task: Task
) -> None:
    first, second, other = (
        list(itertools.islice(training_examples(task, net, splits[task], seed), 20)) for seed in (1, 1, 2)
    )
    assert first == second != other


@pytest.mark.parametrize("task", TASKS)
def test_held_out_files_are_those_the_code_builds(
    net: WordNet, splits: dict[Task, Split], task: Task
) -> None:
    held = read_held_out(task, None)
    assert held == held_out_examples(task, net, splits[task], len(held))


def test_no_held_out_name_is_trained(splits: dict[Task, Split]) -> None:
    trained = {lemma for group in splits["naming"].train for lemma in group.synset.lemmas}
    assert all(trained.isdisjoint(example.lemmas) for example in read_held_out("naming", None))


def test_no_held_out_group_or_term_is_trained(splits: dict[Task, Split]) -> None:
    groups = {group.synset.offset for group in splits["concept"].train}
    terms = {member.name for group in splits["concept"].train for member in group.members}
    for example in read_held_out("concept", None):
        assert groups.isdisjoint(example.synsets)
        assert terms.isdisjoint(example.terms)


@pytest.mark.parametrize("task", TASKS)
def test_no_synset_of_the_sample_clusters_is_trained(
    net: WordNet, splits: dict[Task, Split], task: Task
) -> None:
    reserved = cluster_synsets(net, cluster_terms(CLUSTERS))
    assert reserved
    for group in splits[task].train:
        assert group.synset.offset not in reserved
        assert reserved.isdisjoint(member.offset for member in group.members)


def test_a_naming_prompt_never_holds_the_name(net: WordNet, splits: dict[Task, Split]) -> None:
    rng = random.Random(0)
    for group in splits["naming"].train[:500]:
        example = naming_example(net, group, rng)
        assert not leaks(
            example.lemmas, example.prompt.removeprefix("Definition: ").replace("\nMembers: ", " ")
        )


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


def test_sample_clusters_are_well_formed() -> None:
    clusters = [json.loads(line) for line in CLUSTERS.read_text(encoding="utf-8").splitlines()]
    assert 6 <= len(clusters) <= 8
    assert len({cluster["id"] for cluster in clusters}) == len(clusters)
    assert len(cluster_terms(CLUSTERS)) == sum(len(cluster["terms"]) for cluster in clusters)
