"""What several tests here share."""

from __future__ import annotations

from pathlib import Path

import pytest

from launch.training.data.attributes import AttributeSplit, attribute_split
from launch.training.data.nouns import Split, Task
from launch.training.data.tasks import split_task
from launch.training.data.wordnet import DEFAULT_FOLDER, WordNet, read_adjectives, read_wordnet


@pytest.fixture(scope="session")
def net() -> WordNet:
    if not (DEFAULT_FOLDER / "data.noun").is_file():
        pytest.skip("WordNet is not installed (wordnet-base)")
    return read_wordnet()


@pytest.fixture(scope="session")
def nets(net: WordNet) -> tuple[WordNet, WordNet]:
    return net, read_adjectives()


@pytest.fixture(scope="session")
def attributes(nets: tuple[WordNet, WordNet]) -> AttributeSplit:
    return attribute_split(*nets)


@pytest.fixture(scope="session")
def splits(net: WordNet) -> dict[Task, Split]:
    clusters = Path(__file__).parents[5] / "configs" / "demo" / "clusters.jsonl"
    tasks: tuple[Task, ...] = ("concept", "naming")
    return {task: split_task(task, net, clusters) for task in tasks}
