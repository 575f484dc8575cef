"""What `attribute` is trained on and measured with."""

from __future__ import annotations

from launch.training.data.attributes import (
    AttributeSplit,
    attribute_training,
    terms_of,
)
from launch.training.data.nouns import leaks
from launch.training.data.wordnet import parse_synset
from launch.training.evaluate import read_held_out

LINE = (
    "01210854 00 a 02 heavy(p) 0 weighty 1 004 = 05026843 n 0000 & 01211296 a 0000 ! 01213306 a 0101 "
    "+ 05026843 n 0101 | of comparatively great physical weight or density  "
)


def test_an_adjective_is_read_with_its_pointers_and_without_its_position() -> None:
    synset = parse_synset(LINE, {("heavy", 0, 0): 9})
    assert synset.lemmas == ("heavy", "weighty")
    assert synset.counts == (9, 0)
    pointers = [(link.symbol, link.part, link.source_word, link.target_word) for link in synset.links]
    assert pointers == [("=", "n", 0, 0), ("&", "a", 0, 0), ("!", "a", 1, 1), ("+", "n", 1, 1)]
    assert synset.hypernyms == ()


def test_no_held_out_adjective_is_trained(attributes: AttributeSplit) -> None:
    trained = {lemma for one in attributes.train for lemma in one.synset.lemmas}
    for example in read_held_out("attribute", None):
        assert example.prompt.partition(":")[0] not in trained


def test_an_attribute_is_never_given_away_by_its_prompt(attributes: AttributeSplit) -> None:
    for one in attributes.train + attributes.held_out:
        assert not leaks(one.noun.lemmas, one.synset.definition)
        assert not any(leaks(one.noun.lemmas, term) for term in terms_of(one))


def test_a_measured_attribute_was_trained(attributes: AttributeSplit) -> None:
    trained = {example.answer for example in attribute_training(attributes, 7)}
    assert all(example.answer in trained for example in read_held_out("attribute", None))
