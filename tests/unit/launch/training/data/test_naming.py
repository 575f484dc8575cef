"""What `naming` is trained on."""

from __future__ import annotations

import random

from launch.training.data.naming import naming_example
from launch.training.data.nouns import Split, Task, leaks
from launch.training.data.wordnet import WordNet
from launch.training.evaluate import read_held_out


def test_no_held_out_name_is_trained(splits: dict[Task, Split]) -> None:
    trained = {lemma for group in splits["naming"].train for lemma in group.synset.lemmas}
    assert all(trained.isdisjoint(example.lemmas) for example in read_held_out("naming", None))


def test_a_naming_prompt_never_holds_the_name(net: WordNet, splits: dict[Task, Split]) -> None:
    rng = random.Random(0)
    for group in splits["naming"].train[:500]:
        example = naming_example(net, group, rng)
        assert not leaks(
            example.lemmas, example.prompt.removeprefix("Definition: ").replace("\nMembers: ", " ")
        )
