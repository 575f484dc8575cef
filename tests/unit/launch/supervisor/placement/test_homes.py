"""Everywhere while every engine has slots for all; else where the plan has them."""

from __future__ import annotations

import pytest

from gateway.config.engine_settings import PlacementConfig
from launch.supervisor.placement.homes import EngineView, Outlook, is_planned, look_ahead

NONE: dict[str, float] = {}


def settings(**fields: object) -> PlacementConfig:
    return PlacementConfig.model_validate({"min_replicas": 1, **fields})


def sights(count: int = 2, slots: int | None = 2, *held: frozenset[str]) -> list[EngineView]:
    holds = [*held, *[frozenset[str]()] * count]
    return [EngineView(f"e{number}", slots, True, holds[number]) for number in range(count)]


def kept(count: int) -> dict[str, float]:
    return {f"{number}@1": 0.0 for number in range(count)}


@pytest.mark.parametrize(
    ("policy", "engines", "slots", "adapters", "expected"),
    [
        ("auto", 2, 4, 4, False),
        ("auto", 2, 4, 5, True),
        ("auto", 2, None, 500, False),
        ("auto", 1, 4, 5, False),
        ("everywhere", 2, 4, 5, False),
        ("planned", 2, 4, 1, True),
        ("planned", 1, 4, 1, False),
    ],
)
def test_when_adapters_are_on_some_engines_alone(
    policy: str, engines: int, slots: int | None, adapters: int, expected: bool
) -> None:
    assert is_planned(settings(policy=policy), sights(engines, slots), kept(adapters)) is expected


def test_everywhere_says_what_is_missing_where_requests_go() -> None:
    engines = [EngineView("e0", 4, True, frozenset({"0@1"})), EngineView("e1", 4, False)]
    outlook = look_ahead(settings(), engines, kept(2), kept(2), 0)
    assert (outlook.planned, outlook.homes) == (False, {"0@1": ("e0", "e1"), "1@1": ("e0", "e1")})
    assert [(move.adapter_id, move.engine, move.load) for move in outlook.moves] == [("1@1", "e0", True)]


def test_planned_gives_each_one_home_and_shares_them_out() -> None:
    outlook = look_ahead(settings(), sights(2, 2), kept(4), kept(4), 0)
    assert outlook.planned
    assert sorted(len(outlook.on(name)) for name in ("e0", "e1")) == [2, 2]
    assert outlook.on("e0") | outlook.on("e1") == set(kept(4))
    assert outlook.why["0@1"]


def test_more_replicas_are_kept_to() -> None:
    outlook = look_ahead(settings(policy="planned", min_replicas=2), sights(3, 4), kept(4), kept(4), 100)
    assert {len(names) for names in outlook.homes.values()} == {2}


def test_every_adapter_outlives_one_engine_unless_told_otherwise() -> None:
    config = PlacementConfig.model_validate({"policy": "planned"})
    outlook = look_ahead(config, sights(3, 4), kept(4), kept(4), 100)
    assert {len(names) for names in outlook.homes.values()} == {2}


def test_a_hot_adapter_has_another_engine_only_where_it_is_known_what_one_gives() -> None:
    demand = {**kept(3), "0@1": 900.0}
    cold = look_ahead(settings(), sights(2, 2), demand, demand, 100)
    assert len(cold.homes["0@1"]) == 1
    hot = look_ahead(settings(engine_tokens_per_s=1000), sights(2, 2), demand, demand, 100)
    assert len(hot.homes["0@1"]) == 2


def test_moves_that_are_used_up_hold_nobody_without_a_home() -> None:
    held = frozenset({"0@1", "1@1", "2@1"})
    outlook = look_ahead(settings(policy="planned"), sights(2, 2, held), kept(4), kept(4), 0)
    assert [(move.adapter_id, move.engine, move.load) for move in outlook.moves] == [("3@1", "e1", True)]


def test_an_outlook_of_nothing() -> None:
    assert Outlook(True, NONE).on("e0") == frozenset()  # type: ignore[arg-type]
