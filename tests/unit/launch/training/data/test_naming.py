"""What `naming` is trained on."""

from __future__ import annotations

import json
import random
from collections import Counter

from launch.training.data.naming import naming_epoch, naming_example, naming_split, weight
from launch.training.data.nouns import NounGroup, Split, Task, leaks
from launch.training.data.wordnet import Synset, WordNet
from launch.training.evaluate import read_held_out


def noun(offset: str, name: str, count: int = 0, kinds: tuple[str, ...] = (), gloss: str = "") -> Synset:
    return Synset(offset, 6, (name,), (count,), (), kinds, gloss or "something that is made by hand")


def small_net(*synsets: Synset) -> WordNet:
    senses: dict[str, tuple[str, ...]] = {}
    for synset in synsets:
        senses[synset.name] = (*senses.get(synset.name, ()), synset.offset)
    return WordNet({synset.offset: synset for synset in synsets}, senses, Counter())


NET = small_net(
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


def test_some_answers_stand_in_json_that_is_given_up_to_the_name() -> None:
    examples = list(naming_epoch(NET, naming_split(NET), random.Random(1)))
    held = [example for example in examples if example.given.endswith('"')]
    assert 0.05 < len(held) / len(examples) < 0.12
    calls = [example for example in held if "<tool_call>" in example.answer]
    plain = [json.loads(example.answer) for example in held if example not in calls]
    assert calls
    assert {type(answer) for answer in plain} == {dict, list}
    for example in held:
        assert example.answer.startswith(example.given)
        name, _, end = example.answer.removeprefix(example.given).partition('"')
        assert name == example.lemmas[0]
        assert end.startswith("}")


def test_calls_of_tools_that_take_nothing_are_closed_at_once() -> None:
    examples = list(naming_epoch(NET, naming_split(NET), random.Random(1)))
    calls = [example for example in examples if example.given.endswith("{")]
    assert 0.02 < len(calls) / len(examples) < 0.06
    assert {example.answer.removeprefix(example.given) for example in calls} == {"}}]", "}}\n</tool_call>"}
    asked_for_names = sum(example.prompt.startswith("Definition") for example in calls)
    assert 0.3 < asked_for_names / len(calls) < 0.7


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
