"""How often an engine must be asked, by how often it was odd."""

from __future__ import annotations

import pytest

from launch.engine.repeats import FALSE_ALARM, LEAST_ROUNDS, MOST_REMEMBERED, MOST_ROUNDS, Remembered, Repeats
from launch.engine.scoring import Score
from tests.unit.launch.engine.test_canary import BASE, FLOOR, NAMING, weights

ODD = weights(9, BASE, FLOOR)


def repeats(steady: int, odd: int = 0, before: Remembered | None = None) -> Repeats:
    return Repeats([BASE] * steady + [ODD] * odd, before)


@pytest.mark.parametrize(("steady", "rounds"), [(14, 9), (31, 6), (70, 4), (180, 3), (5000, LEAST_ROUNDS)])
def test_rounds_follow_from_how_often_an_answer_was_odd(steady: int, rounds: int) -> None:
    assert repeats(steady).rounds == rounds


def test_false_alarm_is_the_mean_over_all_shares_that_may_be() -> None:
    """By the integral itself: shares in proportion to how well they explain what was seen."""
    for asked, odd, times in ((14, 0, 5), (30, 2, 7), (8, 8, 3)):
        shares = [(step + 0.5) / 10_000 for step in range(10_000)]
        likely = [share**odd * (1 - share) ** (asked - odd) for share in shares]
        mean = sum(one * share**times for one, share in zip(likely, shares, strict=True)) / sum(likely)
        found = Repeats([BASE], Remembered(BASE.values, asked - 1, odd) if odd < asked else None)
        if odd == asked:
            found.note([ODD] * odd)
            found.asked = asked
        assert found.false_alarm(times) == pytest.approx(mean, rel=1e-3)


def test_no_false_alarm_is_likelier_than_stated() -> None:
    for odd in range(8):
        found = repeats(8, odd)
        assert found.false_alarm(found.rounds) <= FALSE_ALARM or found.rounds == MOST_ROUNDS
    assert Repeats([BASE, ODD, weights(10)]).rounds == MOST_ROUNDS
    assert 0.5**MOST_ROUNDS <= FALSE_ALARM


def test_what_is_remembered_counts_until_one_is_odd_now_and_odd_ones_stay_remembered() -> None:
    before = Remembered(BASE.values, 180, 0)
    found = repeats(2, before=before)
    assert (found.counted, found.rounds) == ((182, 0), 3)
    found.note([ODD])
    assert found.counted == (3, 1)
    assert found.remembered() == Remembered(BASE.values, 183, 1)
    assert repeats(2, before=found.remembered()).counted == (185, 1)


def test_what_is_remembered_can_be_outweighed_and_an_odd_one_never_rounds_away() -> None:
    found = repeats(2, before=Remembered(BASE.values, 100_000, 3))
    assert found.counted == (MOST_REMEMBERED + 2, 1)


def test_adapters_scores_count_for_as_long_as_each_comes_again() -> None:
    found = repeats(14)
    found.note_adapter([NAMING] * 4)
    assert found.counted == (17, 0)
    found.note_adapter([NAMING, weights(3)])
    assert found.counted == (14, 0)


def test_what_is_remembered_comes_back_and_another_texts_is_unknown() -> None:
    before = Remembered((-1 / 3, -0.1), 20, 1)
    assert Remembered.from_json(before.to_json()) == before
    assert Remembered.from_json('{"form": "another", "usual": [], "asked": 9, "odd": 0}') is None
    assert Repeats([Score((-1 / 3, -0.1), ())], before).counted == (21, 1)
