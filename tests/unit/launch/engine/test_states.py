"""The engine's states: what may follow what."""

from __future__ import annotations

import itertools
from typing import get_args

import pytest

from gateway.config.snapshot import EngineStateName
from launch.engine.states import TRANSITIONS, Event, after


def test_life_of_an_engine() -> None:
    state: EngineStateName = "stopped"
    events: list[Event] = ["start", "proven", "drain", "slept", "start", "proven", "died", "start", "proven"]
    seen = [state := after(state, event) for event in events]
    assert seen == [
        *("starting", "ready", "draining", "sleeping", "starting"),
        *("ready", "failed", "starting", "ready"),
    ]


def test_event_that_cannot_come_is_an_error() -> None:
    with pytest.raises(ValueError, match="'proven' cannot come while an engine is stopped"):
        after("stopped", "proven")


def test_every_state_can_be_halted_and_can_die() -> None:
    for state, event in itertools.product(get_args(EngineStateName), ("halt", "died")):
        assert (state, event) in TRANSITIONS
