"""What is expected of the engines, by their states and by whether anybody speaks for them."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.config.snapshot import EngineStatus
from gateway.routing.availability import (
    APPEARS_WITHIN_S,
    GONE,
    RETURNS_WITHIN_S,
    Availability,
    ControlPresence,
    ControlState,
)
from tests.fakes.fake_control import engine_of

NOW = 1000.0


def engines_now(*engines: EngineStatus, control: ControlState = "alive") -> Availability:
    return Availability(engines, any(one.state == "ready" for one in engines), control, NOW)


def one(state: Any, **fields: Any) -> EngineStatus:
    return engine_of("http://127.0.0.1:1", state, **fields)


def test_control_plane_is_awaited_at_first_and_once_more_where_it_goes() -> None:
    presence = ControlPresence(NOW)
    assert presence.state(NOW + APPEARS_WITHIN_S) == "awaited"
    assert presence.state(NOW + APPEARS_WITHIN_S + 0.1) == "gone"
    assert not presence.note(False, NOW)  # that nobody speaks yet is no news
    assert presence.state(NOW) == "awaited"
    assert presence.note(True, NOW)
    assert not presence.note(True, NOW + 1)
    assert presence.state(NOW + 1e6) == "alive"
    assert presence.note(False, NOW)
    assert presence.state(NOW + RETURNS_WITHIN_S) == "away"
    assert presence.state(NOW + RETURNS_WITHIN_S + 0.1) == "gone"


COMING = [
    one("starting"),
    one("sleeping"),
    one("failed", next_try_at=NOW + 1),
    one("stopped", lazy=True),
    one("draining", lazy=True),
    one("stopped", reason=GONE),
]
NOT_COMING = [one("stopped"), one("failed"), one("draining"), one("ready")]


@pytest.mark.parametrize("engine", COMING + NOT_COMING, ids=lambda each: f"{each.state}-{each.reason[:4]}")
def test_waiting_makes_sense_for_an_engine_that_comes(engine: EngineStatus) -> None:
    comes = engine in COMING
    assert engines_now(engine).may_come() is comes
    assert engines_now(engine, control="away").may_come() is comes
    assert engines_now(engine, one("failed")).may_come() is comes
    assert not engines_now(engine, control="gone").may_come()
    assert not engines_now(engine, one("ready")).may_come()


@pytest.mark.parametrize(
    ("engine", "comes"),
    [(None, True), (one("stopped"), True), (one("stopped", reason=GONE), False), (one("starting"), False)],
)
def test_before_anything_is_heard_only_a_standing_engine_is_hoped_for(
    engine: EngineStatus | None, comes: bool
) -> None:
    assert engines_now(*([engine] if engine else []), control="awaited").may_come() is comes


def test_a_start_is_asked_for_where_a_request_may_cause_it() -> None:
    for state in ("stopped", "draining"):
        assert engines_now(one(state, lazy=True)).wants_start()
        assert not engines_now(one(state)).wants_start()
    assert engines_now(one("sleeping")).wants_start()
    assert not engines_now(one("starting", lazy=True)).wants_start()


@pytest.mark.parametrize(
    ("engine", "rest_s"),
    [
        (one("starting", load_s=30.0, started_at=NOW - 10), 20),
        (one("starting", load_s=30.0, started_at=NOW - 100), 10),  # a tenth of its time so far
        (one("starting", started_at=NOW), 60),
        (one("failed", load_s=30.0, next_try_at=NOW + 5), 35),
        (one("stopped", load_s=0.01), 1),
        (one("stopped", load_s=1e6), 600),
    ],
)
def test_retry_after_is_the_rest_of_the_last_start_s_time(engine: EngineStatus, rest_s: int) -> None:
    assert engines_now(engine).rest_s() == rest_s
    assert engines_now(engine, one("stopped", load_s=1e6)).rest_s() == rest_s


def test_refusal_names_the_stage_or_the_state() -> None:
    loading = engines_now(one("starting", stage="loading weights", started_at=NOW - 3, load_s=10.0)).refusal(
        reasons=True
    )
    assert (loading.code, loading.retry_after_s) == ("engine_starting", 7)
    assert "(loading weights, 3 s so far)" in loading.message
    assert engines_now(one("stopped", lazy=True)).refusal(reasons=True).code == "engine_starting"
    alone = engines_now(one("stopped", lazy=True), control="away").refusal(reasons=True)
    assert (alone.code, alone.status) == ("engine_not_running", 503)
    failed = engines_now(one("failed", reason="no memory"), one("stopped")).refusal(reasons=True)
    assert failed.message == "The engine is not running (state: failed: no memory; state: stopped)."
    assert engines_now().refusal(reasons=True).message == "The engine is not running (state: stopped)."
