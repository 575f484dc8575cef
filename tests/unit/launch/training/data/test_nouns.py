"""Groups of nouns that no task may train on."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from launch.training.data.nouns import Split, Task, cluster_synsets, cluster_terms, leaks
from launch.training.data.wordnet import WordNet

CLUSTERS = Path(__file__).parents[5] / "configs" / "demo" / "clusters.jsonl"
TASKS: tuple[Task, ...] = ("concept", "naming")


def test_leaks_finds_a_name_by_its_stem() -> None:
    assert leaks(("swimmer",), "one who swims")
    assert not leaks(("swimmer",), "one who runs")


@pytest.mark.parametrize("task", TASKS)
def test_no_synset_of_the_sample_clusters_is_trained(
    net: WordNet, splits: dict[Task, Split], task: Task
) -> None:
    reserved = cluster_synsets(net, cluster_terms(CLUSTERS))
    assert reserved
    for group in splits[task].train:
        assert group.synset.offset not in reserved
        assert reserved.isdisjoint(member.offset for member in group.members)


def test_sample_clusters_are_well_formed() -> None:
    clusters = [json.loads(line) for line in CLUSTERS.read_text(encoding="utf-8").splitlines()]
    assert 6 <= len(clusters) <= 8
    assert len({cluster["id"] for cluster in clusters}) == len(clusters)
    assert len(cluster_terms(CLUSTERS)) == sum(len(cluster["terms"]) for cluster in clusters)
