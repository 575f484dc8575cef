"""Patterns of modules, matched as peft does, and refused where the engine could be lost in them."""

from __future__ import annotations

import re

import pytest

from launch.adapters.target_modules import check_patterns, compile_suffix, ranks_of, ways
from launch.machine.files import Unfit

MODULES = ["model.layers.0.self_attn.q_proj", "model.layers.10.mlp.down_proj"]


@pytest.mark.parametrize(
    ("pattern", "count"),
    [
        ("q_proj", 1),
        ("layers.0.q", 1),
        ("q|k|v", 3),
        (r".*\.q_proj", 11),
        (r"layers\.[0-9]+\.q", 11),
        ("(q|k)_proj", 2),
        ("(?:q)?proj", 2),
        ("[a-z]?x", 2),
    ],
)
def test_ways_of_a_pattern_are_counted(pattern: str, count: int | None) -> None:
    assert ways(pattern, 10) == count


@pytest.mark.parametrize("pattern", ["(a+)+b", "(a*)*", r"(a)\1", "(?=a)b", "(a|b){9}", "((a)", "a)", "[a+*"])
def test_pattern_that_a_matcher_may_be_lost_in_has_no_count(pattern: str) -> None:
    assert ways(pattern, 10) is None


def test_pattern_with_too_many_ways_has_none() -> None:
    assert ways("[a-z]*" * 3, 10) == 11**3
    assert ways("[a-z]*" * 9, 300) is None


def test_suffix_counts_from_a_dot_on() -> None:
    found = compile_suffix("rank_pattern", "q_proj")
    assert found.match(MODULES[0])
    assert not found.match("model.layers.0.self_attn.xq_proj")


def test_first_pattern_that_matches_gives_the_rank() -> None:
    given = {"q_proj": 4, r"layers\.0\.self_attn\.q_proj": 8, r"layers\.1[0-9]?\..*": 2}
    with pytest.raises(Unfit, match="too free a pattern"):
        ranks_of({"(a+)+": 1}, MODULES, 16)
    assert ranks_of({key: given[key] for key in list(given)[:2]}, MODULES, 16) == {
        MODULES[0]: 4,
        MODULES[1]: 16,
    }


@pytest.mark.parametrize("pattern", ["(a+)+b", "x" * 9000 + "+"])
def test_too_free_a_pattern_is_refused_by_its_key(pattern: str) -> None:
    with pytest.raises(Unfit, match="alpha_pattern"):
        check_patterns("alpha_pattern", [pattern], MODULES)


def test_plain_patterns_pass_and_are_what_re_says() -> None:
    check_patterns("alpha_pattern", ["q_proj", r"layers\.[0-9]+\.mlp\.down_proj"], MODULES)
    assert re.fullmatch(compile_suffix("k", r"layers\.[0-9]+\.mlp\.down_proj"), MODULES[1])
