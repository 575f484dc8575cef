"""What several tests here share."""

from __future__ import annotations

import pytest

from launch.training.data.attributes import (
    AttributeSplit,
    attribute_split,
)
from launch.training.data.wordnet import DEFAULT_FOLDER, WordNet, read_adjectives, read_wordnet


@pytest.fixture(scope="module")
def nets() -> tuple[WordNet, WordNet]:
    if not (DEFAULT_FOLDER / "data.adj").is_file():
        pytest.skip("WordNet is not installed (wordnet-base)")
    return read_wordnet(), read_adjectives()


@pytest.fixture(scope="module")
def attributes(nets: tuple[WordNet, WordNet]) -> AttributeSplit:
    return attribute_split(*nets)
