"""WordNet's files, read."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.errors import ConfigError
from launch.training.data.wordnet import parse_synset, read_wordnet

LINE = (
    "02801938 06 n 02 basket 0 handbasket 0 002 @ 03094503 n 0000 ~ 02800000 n 0000 "
    '| a container that is usually woven (and has handles); "a basket of eggs"  '
)


def test_a_synset_is_read_with_its_names_counts_relations_and_definition() -> None:
    synset = parse_synset(LINE, {("basket", 6, 0): 5})
    assert synset.lemmas == ("basket", "handbasket")
    assert synset.counts == (5, 0)
    assert (synset.hypernyms, synset.hyponyms) == (("03094503",), ("02800000",))
    assert synset.definition == "a container that is usually woven"


def test_a_missing_wordnet_is_named_with_its_mend(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="wordnet-base"):
        read_wordnet(tmp_path)
