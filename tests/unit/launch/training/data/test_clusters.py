"""Clusters that `concept` is trained on: whose groups may be of one field, and still lie apart."""

from __future__ import annotations

import itertools
import random

import pytest

from launch.training.data.clusters import Kinship, named_groups, trained_clusters
from launch.training.data.nouns import Split, Task
from launch.training.data.wordnet import WordNet
from launch.training.examples import Example
from tests.unit.launch.training.data.test_groups import net_of, synset

NONE: frozenset[str] = frozenset()
NET = net_of(
    synset("1", "artifact", kinds="2 6"),
    synset("2", "covering", above="1", kinds="3"),
    synset("3", "footwear", above="2", kinds="4 5"),
    synset("4", "boot", above="3"),
    synset("5", "shoe", above="3"),
    synset("6", "tool", above="1", kinds="7"),
    synset("7", "hammer", above="6", kinds="8 9"),
    synset("8", "mallet", above="7"),
    synset("9", "sledge", "boot", above="7"),
    synset("10", "number", "figure"),
)


@pytest.mark.parametrize(
    ("one", "other", "apart"),
    [
        ("3", "8", True),  # two steps and three below the artifact
        ("3", "7", False),  # two and two
        ("2", "8", False),  # one and three
        ("3", "1", False),  # a kind of it
        ("3", "3", False),
        ("3", "10", True),  # nothing in common
    ],
)
def test_groups_lie_apart_by_the_steps_to_what_they_share(one: str, other: str, apart: bool) -> None:
    kinship = Kinship(NET)
    assert kinship.lie_apart(one, other) == kinship.lie_apart(other, one) == apart


def test_a_word_may_be_what_any_of_its_senses_is() -> None:
    kinship = Kinship(NET)
    assert kinship.may_be("boot", "3")
    assert kinship.may_be("boot", "6")
    assert not kinship.may_be("shoe", "6")
    assert not kinship.may_be("nothing that WordNet has", "6")


def test_groups_of_one_name_are_one_without_what_is_kept_back() -> None:
    known = [
        Example("Definition: A thing.\nMembers: boot, shoe", "footwear"),
        Example("Members: shoe, mallet, hammer", "footwear"),
        Example("Definition: Without members.", "tool"),
        Example("Members: hammer, mallet, sledge, shoe", "tool"),
    ]
    (tools,) = named_groups(NET, known, NONE, NONE)
    assert (tools.synset.name, [member.name for member in tools.members]) == (
        "tool",
        ["hammer", "mallet", "sledge"],
    )
    assert not named_groups(NET, known, NONE, frozenset({"mallet"}))
    assert not named_groups(NET, known, frozenset({"6"}), NONE)


def test_no_member_may_be_of_another_group_of_its_cluster(net: WordNet, splits: dict[Task, Split]) -> None:
    """Of those of different fields alone it is not looked at."""
    kinship, groups = Kinship(net), splits["concept"].train
    drawn = itertools.islice(trained_clusters(net, groups, groups, random.Random(3)), 200)
    plain = [example for example in drawn if ":" not in example.prompt]
    assert 100 < len(plain) < 190
    one_field = 0
    for example in plain:
        files = [net.synsets[offset].lexicographer_file for offset in example.synsets]
        if len(set(files)) == len(files):
            continue
        one_field += 1
        members = {member: group for group in example.groups for member in group}
        for offset, other in itertools.permutations(example.synsets, 2):
            assert kinship.lie_apart(offset, other)
            own = [member for member in members if kinship.may_be(member, offset)]
            assert len({members[member] for member in own}) == 1
    assert one_field > 20
