"""What an engine's own counts say of its speed, and of others' requests at it."""

from __future__ import annotations

from gateway.admission.engine_bound import EngineLoad
from gateway.routing.selection.speed import FRESH_S, LOOKS, Speed


def load(tokens: float, running: int = 0, waiting: int = 0) -> EngineLoad:
    return EngineLoad(running, waiting, tokens=tokens)


def test_the_most_that_it_did_of_late_is_its_speed() -> None:
    speed = Speed()
    speed.saw(load(1000.0), 0, 10.0)
    assert speed.tokens_per_s == 0.0
    speed.saw(load(1500.0), 0, 11.0)
    speed.saw(load(1510.0), 0, 12.0)  # little was asked of it
    assert speed.tokens_per_s == 500.0
    for second in range(LOOKS):
        speed.saw(load(1510.0 + 10 * (second + 1)), 0, 13.0 + second)
    assert speed.tokens_per_s == 10.0


def test_what_it_did_while_nobody_looked_or_before_a_restart_says_nothing() -> None:
    speed = Speed()
    speed.saw(load(1000.0), 0, 10.0)
    speed.saw(load(9000.0), 0, 10.0 + FRESH_S + 1)
    speed.saw(load(5.0), 0, 15.0)
    assert speed.tokens_per_s == 0.0


def test_others_requests_are_those_that_are_not_ours_for_a_while() -> None:
    speed = Speed()
    speed.saw(load(0.0, running=8, waiting=3), 5, 10.0)
    assert (speed.others(11.0), speed.others(10.0 + FRESH_S + 0.1)) == (6, 0)
    speed.saw(load(0.0, running=2), 5, 12.0)  # ours have just gone out
    assert speed.others(12.0) == 0
