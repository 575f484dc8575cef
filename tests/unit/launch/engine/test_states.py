"""The engine's states, restarts, and what ended it."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import get_args

import pytest

from gateway.config.snapshot import EngineStateName, FailureKind
from launch.engine.failures import blame_of, kind_of, oom_kills
from launch.engine.states import TRANSITIONS, Event, after
from launch.machine.restarts import SETTLED_S, Restarts


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


def test_back_off_doubles_to_a_bound_and_ends() -> None:
    restarts, delays = Restarts(most=8, backoff_s=1.0), []
    for _ in range(9):
        restarts, delay_s = restarts.failed(0.0, "crash")
        delays.append(delay_s)
    assert delays == [1, 2, 4, 8, 16, 32, 60, 60, None]


def test_good_service_begins_the_count_anew() -> None:
    worn, _ = Restarts(5, 1.0, in_a_row=4).failed(SETTLED_S, "crash")
    assert worn.in_a_row == 1


def test_setting_that_fails_is_not_tried_again() -> None:
    assert Restarts(5, 1.0).failed(0.0, "configuration")[1] is None


@pytest.mark.parametrize(
    ("code", "log", "kills", "was_ready", "kind"),
    [
        (1, "torch.OutOfMemoryError: CUDA out of memory.", 0, True, "out_of_memory"),
        (-9, "", 1, False, "out_of_memory"),
        (1, "EngineDeadError", 1, True, "out_of_memory"),
        (-9, "", 0, True, "crash"),
        (1, "EngineDeadError", 0, True, "crash"),
        (1, "ValueError: nonsense", 0, False, "start"),
        (1, "ValueError: Free memory on device (5.89/47.5 GiB) is less", 0, False, "configuration"),
        (2, "api_server.py: error: unrecognized arguments: --nope", 0, False, "configuration"),
    ],
)
def test_ends_are_told_apart(code: int, log: str, kills: int, was_ready: bool, kind: str) -> None:
    assert kind_of(code, log, kills, was_ready) == kind


@pytest.mark.parametrize(
    ("kind", "code", "log", "blame"),
    [
        ("crash", -11, "", "request"),
        ("crash", 1, "", "request"),
        (
            "crash",
            0,
            "EngineDeadError: EngineCore encountered an issue.",
            "request",
        ),
        ("crash", 0, "INFO: Shutting down", "nobody"),
        ("crash", -9, "", "nobody"),
        ("crash", -15, "", "nobody"),
        ("hang", None, "", "request"),
        ("out_of_memory", -9, "", "memory"),
        ("start", 1, "", "nobody"),
        ("configuration", 1, "", "nobody"),
    ],
)
def test_a_request_is_blamed_where_nothing_else_ended_it(
    kind: FailureKind, code: int | None, log: str, blame: str
) -> None:
    assert blame_of(kind, code, log) == blame


def test_kernels_kills_are_counted_where_it_says(tmp_path: Path) -> None:
    (tmp_path / "vmstat").write_text("pgfault 7\noom_kill 3\n")
    (tmp_path / "events").write_text("max 1\noom 2\noom_kill 2\n")
    assert oom_kills((tmp_path / "vmstat", tmp_path / "events", tmp_path / "none")) == 5
