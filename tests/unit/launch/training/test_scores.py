"""The measures of `lora-gateway evaluate`."""

from __future__ import annotations

import json

import pytest

from launch.training.scores import bootstrap, name_exact, name_in_lemmas, pairwise_f1, parse_groups


def answer(*groups: list[str]) -> str:
    return json.dumps({"concepts": [{"members": group, "definition": "One d."} for group in groups]})


def test_pairwise_f1_is_one_for_the_same_groups_in_another_order() -> None:
    assert pairwise_f1([["a", "b"], ["c", "d"]], [["d", "c"], ["b", "a"]]) == 1.0


def test_pairwise_f1_counts_pairs_put_together() -> None:
    # Wanted ab, cd; found ab, ac, bc: one of three is right, and one of two is found.
    assert pairwise_f1([["a", "b"], ["c", "d"]], [["a", "b", "c"], ["d"]]) == pytest.approx(2 * 1 / (2 + 3))


def test_pairwise_f1_is_zero_for_nothing_put_together() -> None:
    assert pairwise_f1([["a", "b"]], [["a"], ["b"]]) == 0.0
    assert pairwise_f1([["a"], ["b"]], [["a"], ["b"]]) == 1.0


def test_pairwise_f1_gains_nothing_from_a_repeated_member() -> None:
    assert pairwise_f1([["a", "b"]], [["a", "a", "b"]]) == 1.0


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"concepts": {}}',
        '{"concepts": ["a"]}',
        '{"concepts": [{"members": [1], "definition": ""}]}',
        '{"concepts": [{"members": ["a"]}]}',
        '{"concepts": [',
        "[" * 100_000,
    ],
)
def test_parse_groups_refuses_what_is_not_the_shape(text: str) -> None:
    assert parse_groups(text) is None


def test_parse_groups_gives_the_members() -> None:
    assert parse_groups(answer(["a", "b"], ["c"])) == [["a", "b"], ["c"]]


def test_name_exact_looks_past_case_quotes_and_underscores() -> None:
    assert name_exact("edible fruit", ' "Edible_Fruit".')
    assert not name_exact("edible fruit", "fruit")


def test_name_in_lemmas_takes_any_name_of_the_synset() -> None:
    assert name_in_lemmas(("basket", "handbasket"), "handbasket")
    assert not name_in_lemmas(("basket", "handbasket"), "hand")


def test_bootstrap_is_the_same_for_the_same_seed_and_holds_the_mean() -> None:
    values = [0.0, 1.0, 1.0, 0.0, 1.0] * 10
    interval = bootstrap(values, seed=3)
    assert interval == bootstrap(values, seed=3)
    assert interval.mean == pytest.approx(0.6)
    assert interval.low < interval.mean < interval.high
    assert interval.count == 50


def test_bootstrap_of_equal_values_has_no_width() -> None:
    interval = bootstrap([1.0] * 4)
    assert (interval.low, interval.mean, interval.high) == (1.0, 1.0, 1.0)


def test_bootstrap_refuses_no_values() -> None:
    with pytest.raises(ValueError, match="no value"):
        bootstrap([])
