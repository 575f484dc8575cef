"""When an adapter is known to act, and what would pass for that."""

from __future__ import annotations

import random

import pytest

from launch.engine.repeats import MOST_ROUNDS
from launch.engine.rounds import Rounds
from launch.engine.scoring import ProofScores, Score
from tests.unit.launch.engine.test_canary import BASE, FLOOR, NAMING, WEAK, weights

ODD, OTHER_ODD = weights(40, BASE, FLOOR), weights(41, BASE, FLOOR)


def rounds(base: list[Score], own: list[Score], needed: int = 3) -> Rounds:
    return Rounds(tuple(base), tuple(own), needed, BASE)


def test_scores_that_come_again_count_with_and_without_the_base_beside_them() -> None:
    assert rounds([BASE], [WEAK] * 3).acts
    assert not rounds([BASE], [WEAK] * 2).acts
    assert rounds([BASE], [WEAK] * 2).missing == 1


@pytest.mark.parametrize(
    ("base", "own"),
    [
        ([BASE], [ODD, ODD, OTHER_ODD]),  # odd in two ways: rounding
        ([ODD], [WEAK] * 3),  # the base is not as ever: who knows what the adapter's would be
        ([BASE, ODD], [WEAK] * 3),
        ([BASE], [ODD, BASE, ODD]),  # by its place in the batch: two of its copies are never both odd
    ],
)
def test_what_is_odd_proves_nothing(base: list[Score], own: list[Score]) -> None:
    found = rounds(base, own)
    assert not found.steady
    assert not found.acts
    assert found.missing == 0  # so that the next one has the base beside it


def test_adapter_that_was_odd_once_is_proven_beside_the_base() -> None:
    assert rounds([BASE] * 3, [WEAK, ODD, WEAK]).acts


def test_one_equal_score_is_no_effect_however_many_differ() -> None:
    found = rounds([BASE] * 9, [*[ODD] * 8, BASE])
    assert found.same
    assert not found.acts


def test_untrained_adapter_passes_no_more_often_than_its_scores_are_odd_without_exception() -> None:
    """A third odd, always in the same way, which is the worst: by the rule it takes all of them."""
    chance, passed, trials, needed = random.Random(1), 0, 20_000, 3
    for _ in range(trials):
        own = [ODD if chance.random() < 1 / 3 else BASE for _ in range(needed)]
        base = [ODD if chance.random() < 1 / 3 else BASE]
        passed += rounds(base, own, needed).acts
    assert passed / trials == pytest.approx((1 / 3) ** needed * 2 / 3, rel=0.2)


def test_engine_that_never_repeats_itself_takes_a_clear_distance() -> None:
    base = [weights(seed, BASE, FLOOR) for seed in range(50, 50 + MOST_ROUNDS)]
    near = [weights(seed, BASE, FLOOR) for seed in range(80, 80 + MOST_ROUNDS)]
    far = [weights(seed, NAMING, FLOOR) for seed in range(80, 80 + MOST_ROUNDS)]
    assert rounds(base, far, MOST_ROUNDS).acts
    assert not rounds(base, near, MOST_ROUNDS).acts
    assert not rounds(base, near, MOST_ROUNDS).go_on


def test_what_was_proven_comes_again_only_to_the_digit_and_with_its_base() -> None:
    known = ProofScores(WEAK, BASE, 0.0)
    assert rounds([BASE], [WEAK]).is_again(known)
    assert not rounds([BASE], [ODD]).is_again(known)
    assert not rounds([ODD], [WEAK]).is_again(known)
    assert not rounds([BASE], [WEAK]).is_again(None)
    assert not rounds([BASE], [BASE]).is_again(ProofScores(BASE, BASE, 0.0))  # it acts under a prompt alone
