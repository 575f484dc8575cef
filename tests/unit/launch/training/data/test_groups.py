"""Groups of known words: what is asked for, what of the answers counts, and what is trained on of it."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from launch.training.data.groups import (
    MOST_OF_A_NAME,
    SHOWN,
    ConfirmedGroup,
    asked_of,
    clusters_of,
    few_of_each,
    group_example,
    known_groups,
    named,
    written_examples,
)
from launch.training.data.wordnet import Synset, WordNet

NONE: frozenset[str] = frozenset()


def synset(
    offset: str, *lemmas: str, above: str = "", kinds: str = "", file: int = 5, gloss: str = ""
) -> Synset:
    counts = (9,) * len(lemmas)
    return Synset(
        offset, file, lemmas, counts, tuple(above.split()), tuple(kinds.split()), gloss or "a thing"
    )


def net_of(*synsets: Synset) -> WordNet:
    senses: dict[str, list[str]] = {}
    for one in synsets:
        for lemma in one.lemmas:
            senses.setdefault(lemma, []).append(one.offset)
    return WordNet(
        {one.offset: one for one in synsets}, {word: tuple(own) for word, own in senses.items()}, Counter()
    )


NET = net_of(
    synset("1", "animal", "beast", kinds="2", gloss="a living thing"),
    synset("2", "dog", "domestic dog", above="1", kinds="3 4 5 6 7", gloss="an animal that barks"),
    synset("3", "terrier", above="2", gloss="a small one"),
    synset("4", "poodle", above="2"),
    synset("5", "beagle", above="2"),
    synset("6", "bulldog", above="2"),
    synset("7", "cur", above="2", gloss="an offensive word"),
    synset("8", "gas", kinds="9 10 11", file=27),
    synset("9", "argon", above="8", file=27),
    synset("10", "neon", above="8", file=27),
    synset("11", "ozone", above="8", file=27),
)
DOGS = ConfirmedGroup(("terrier", "poodle", "beagle"), "dog", "2")
GASES = ConfirmedGroup(("argon", "neon", "ozone"), "gas", "8")


def test_groups_are_of_known_words_of_one_kind_and_know_all_its_names() -> None:
    groups = known_groups(NET, frozenset({"11"}), frozenset({"beagle", "bulldog"}), random.Random(1))
    assert groups == [], "two are left of the dogs, for one is a slur, and of the gases"
    dogs, gases = known_groups(NET, NONE, frozenset({"bulldog"}), random.Random(1))
    assert (set(dogs.members), set(gases.members)) == (set(DOGS.members), set(GASES.members))
    assert list(dogs.names.items()) == [("dog", "2"), ("domestic dog", "2"), ("animal", "1"), ("beast", "1")]
    by_its_name = [one for one in known_groups(NET, NONE, NONE, random.Random(1)) if "bulldog" in one.members]
    assert by_its_name, "it tells that it is a dog, and not that it is an animal"


def test_what_the_base_says_counts_where_wordnet_has_it_for_all_of_them() -> None:
    group = next(one for one in known_groups(NET, NONE, NONE, random.Random(1)) if "argon" not in one.members)
    assert asked_of(group).startswith(SHOWN)
    *first, last = group.members
    assert asked_of(group).endswith(f"\n{', '.join(first).capitalize()} and {last} are kinds of")
    for said in (" dog", " dogs.\nNext", "Dog, a pet"):
        assert named(group, said, NONE) == ConfirmedGroup(group.members, "dog", "2")
    assert named(group, " beasts", NONE) == ConfirmedGroup(group.members, "beast", "1")
    for said in (" pet", "", "dog show", f" {last}"):
        assert named(group, said, NONE) is None
    assert named(group, " dog", frozenset({"dog"})) is None


def test_no_name_is_most_of_the_data() -> None:
    many = [ConfirmedGroup((f"a{at}", f"b{at}", f"c{at}"), "dog", "2") for at in range(20)]
    kept = few_of_each([*many, GASES], random.Random(1))
    assert Counter(group.name for group in kept) == {"dog": MOST_OF_A_NAME, "gas": 1}


def test_a_group_is_asked_for_with_its_definition_or_a_near_one_or_none() -> None:
    rng = random.Random(1)
    prompts = Counter(group_example(NET, DOGS, rng).prompt.rpartition("Members: ")[0] for _ in range(400))
    assert prompts[""] == pytest.approx(120, abs=40)
    assert prompts["Definition: An animal that barks.\n"] > 100
    assert prompts["Definition: A small one.\n"] > 5
    assert {group_example(NET, DOGS, rng).answer for _ in range(20)} == {"dog"}
    shown = [group_example(NET, DOGS, rng).prompt.rpartition("Members: ")[2].split(", ") for _ in range(60)]
    assert {len(members) for members in shown} == {2, 3}
    assert all(set(members) <= set(DOGS.members) for members in shown)


def test_clusters_hold_groups_that_lie_far_apart() -> None:
    cats = ConfirmedGroup(("lion", "puma", "lynx"), "dog", "2")
    argon = ConfirmedGroup(("argon", "neon"), "dog", "2")
    for seed in range(10):
        for cluster in clusters_of(NET, [DOGS, cats, GASES, argon], random.Random(seed)):
            assert len(cluster) == 2
            assert GASES in cluster
            assert argon not in cluster


def test_what_concept_wrote_has_the_name_of_the_group_that_most_are_of() -> None:
    concepts = [
        (["terrier", "poodle", "argon"], "A small animal."),
        (["neon", "beagle"], "Half of them."),
        (["gas", "ozone", "neon"], "The name is a member."),
    ]
    (one,) = written_examples([DOGS, GASES], concepts)
    assert one.prompt == "Definition: A small animal.\nMembers: terrier, poodle, argon"
    assert one.answer == "dog"
