"""What `naming` is trained on."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from launch.training.data.naming import naming_epoch, naming_example, naming_split, weight
from launch.training.data.nouns import NounGroup, Split, Task, leaks
from launch.training.data.wordnet import Synset, WordNet
from launch.training.evaluate import read_held_out
from launch.training.examples import Example
from tests.unit.launch.training.data.test_groups import net_of
from tests.unit.launch.training.data.test_objects import object_in


def noun(offset: str, name: str, count: int = 0, kinds: tuple[str, ...] = (), gloss: str = "") -> Synset:
    return Synset(offset, 6, (name,), (count,), (), kinds, gloss or "something that is made by hand")


NET = net_of(
    noun("1", "table", 40, ("2", "3")),
    noun("2", "desk", 9),
    noun("3", "counter", 0),
    noun("4", "bench", 40, ("5",)),
    noun("5", "settle", 0, gloss="a slur"),
    noun("6", "table", 1, ("2", "3")),
    noun("7", "work table", 40, ("2", "3")),
    noun("8", "hand", 40),
)


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


def test_nouns_of_few_kinds_are_trained_on_as_well() -> None:
    split = naming_split(NET, frozenset("7"), frozenset({"counter"}))
    members = {group.synset.offset: [kind.name for kind in group.members] for group in split.train}
    # Neither a slur nor an everyday term is a member, and "made by hand" tells the name of "hand".
    assert members == {"1": ["desk"], "2": [], "3": [], "4": [], "6": ["desk"]}


def test_an_answer_in_training_begins_with_a_space_as_words_in_a_text_do() -> None:
    split = naming_split(NET)
    examples = [example for example in naming_epoch(NET, split, random.Random(1)) if not example.given]
    assert {example.answer for example in examples} >= {" table", " desk", " bench"}
    assert all(example.answer[0] == " " and example.answer[1:] == example.lemmas[0] for example in examples)
    # What is measured with says the name as it is.
    assert naming_example(NET, split.train[0], random.Random(1)).answer == "table"
    desk = next(example for example in examples if example.answer == " desk")
    assert "Members" not in desk.prompt


def test_known_groups_are_half_of_what_is_trained_on() -> None:
    known = [Example(f"Members: {at}", "fruit") for at in range(40)]
    examples = list(naming_epoch(NET, naming_split(NET), random.Random(1), known))
    of_groups = [example.prompt for example in examples if example.prompt.startswith("Members")]
    assert len(of_groups) / len(examples) == pytest.approx(0.5, abs=0.03)
    assert {example.answer for example in examples if example.prompt in of_groups} == {" fruit"}
    assert set(Counter(of_groups[: 3 * len(known)]).values()) == {3}, "each comes before one comes again"


def test_some_answers_are_objects_of_all_kinds() -> None:
    examples = [one for one in naming_epoch(NET, naming_split(NET), random.Random(1)) if one.given]
    assert 0.3 < len(examples) / sum(1 for _ in naming_epoch(NET, naming_split(NET), random.Random(1))) < 0.42
    assert {len(object_in(example.answer)) for example in examples} == {0, 1, 2, 3}
    assert all(example.answer.startswith(example.given) for example in examples)


def test_a_noun_weighs_by_how_often_it_is_meant_and_by_its_kinds() -> None:
    groups = {group.synset.offset: group for group in naming_split(NET).train}
    known, rarer_sense, two_words = (weight(NET, groups[offset]) for offset in "167")
    assert known > rarer_sense > 0
    assert two_words < known
    alone = weight(NET, NounGroup(groups["1"].synset, ()))
    assert weight(NET, groups["3"]) < alone < known
    counted = Counter(
        example.synsets[0] for example in naming_epoch(NET, naming_split(NET), random.Random(2))
    )
    assert counted["1"] > counted["6"] > counted["3"]
