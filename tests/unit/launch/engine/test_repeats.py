"""How often an engine must be asked, by how often it was odd."""

from __future__ import annotations

from launch.engine.repeats import FALSE_ALARM, MOST_ROUNDS, Repeats
from tests.unit.launch.engine.test_canary import BASE, FLOOR, weights


def test_rounds_follow_from_how_often_an_answer_was_odd() -> None:
    other = weights(9, BASE, FLOOR)
    steady = Repeats([BASE] * 14)
    assert (steady.odd_share, steady.rounds) == (1 / 16, 5)
    steady.note([BASE] * 84)
    assert steady.rounds == 3
    for odd in range(8):
        repeats = Repeats([BASE] * 8 + [other] * odd)
        assert repeats.odd_share**repeats.rounds <= FALSE_ALARM * 1.001 or repeats.rounds == MOST_ROUNDS
    assert Repeats([BASE, other, weights(10)]).rounds == MOST_ROUNDS
    assert 0.5**MOST_ROUNDS <= FALSE_ALARM
