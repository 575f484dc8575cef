"""Engines of one launch beside each other: none takes what another has."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.config.document import Config
from gateway.errors import ConfigError
from launch.engine.vllm_plugin.message_wait import SHARED_CORES
from launch.supervisor.replicas.layout import BINDING, CARDS, RESERVED, THREADS, WAITING, places

SHARED = {SHARED_CORES: "1"}
CALM = {BINDING: "nobind", WAITING: "passive", **SHARED}


def config_of(replicas: int, **sections: Any) -> Config:
    base = {"model": "m", **sections.pop("base", {})}
    return Config.model_validate({"base": base, "engines": {"replicas": replicas}, **sections})


def test_one_engine_has_everything() -> None:
    assert places(config_of(1), ["0", "1"], [0, 1], {}) == [{}]
    assert places(config_of(1), None, [0, 1], {}) == [{**CALM, THREADS: "2"}]
    assert places(config_of(1), None, [0, 1, 2, 3, 4], {}) == [{}]
    assert places(config_of(1), None, [], {}) == [{}]  # which they are is not known


@pytest.mark.parametrize("name", [BINDING, RESERVED])
def test_one_engine_has_what_somebody_has_set(name: str) -> None:
    assert places(config_of(1), None, [0, 1], {name: "1"}) == [{}]
    assert places(config_of(1, engine={"env": {name: "1"}}), None, [0, 1], {}) == [{}]


def test_cards_are_shared_out_in_the_order_that_they_have() -> None:
    pairs = config_of(2, base={"tensor_parallel_size": 2})
    assert places(pairs, ["4", "5", "6", "7", "8"], [], {}) == [{CARDS: "4,5"}, {CARDS: "6,7"}]


def test_too_few_cards_are_an_error_before_the_start() -> None:
    with pytest.raises(ConfigError, match="a card each need 3, and there are 2") as refused:
        places(config_of(3), ["0", "1"], [], {})
    assert refused.value.key == "engines.replicas"


def test_cores_are_shared_out_where_there_are_enough() -> None:
    split = config_of(2, base={"tensor_parallel_size": 2})
    assert places(split, None, [0, 1, 2, 3], {}) == [SHARED, SHARED]
    found = places(config_of(2), None, [0, 1, 2, 3, 4], {})
    assert found == [{BINDING: "0,1", **SHARED}, {BINDING: "2,3", **SHARED}]
    assert places(config_of(3), None, [0, 1], {}) == [SHARED, SHARED, SHARED]


@pytest.mark.parametrize(("env", "own"), [({BINDING: "0"}, {}), ({}, {BINDING: "0"}), ({}, {CARDS: "1"})])
def test_what_somebody_has_set_goes_before(env: dict[str, str], own: dict[str, str]) -> None:
    config = config_of(2, engine={"env": own})
    found = places(config, ["0", "1"] if CARDS in own else None, [0, 1], env)
    assert found == ([{}, {}] if CARDS in own else [SHARED, SHARED])


def test_an_engine_has_as_many_threads_as_it_may_take_cores_time() -> None:
    few = {**CALM, THREADS: "2"}
    assert places(config_of(1), None, range(16), {}, quota=2.5) == [few]
    assert places(config_of(1), None, range(16), {}, quota=0.5) == [{**few, THREADS: "1"}]
    assert places(config_of(1), None, range(16), {}, quota=8.0) == [{BINDING: "nobind", THREADS: "7"}]
    assert places(config_of(2), None, range(16), {}, quota=8.0) == [{**few, THREADS: "4"}] * 2
    split = config_of(1, base={"tensor_parallel_size": 2})
    assert places(split, None, range(16), {}, quota=4.0) == [few]


def test_a_quota_of_all_cores_says_nothing() -> None:
    assert places(config_of(1), None, [0, 1], {}, quota=2.0) == places(config_of(1), None, [0, 1], {})
    assert places(config_of(1), ["0"], range(16), {}, quota=2.0) == [{}]


def test_threads_that_somebody_has_set_go_before_a_quota() -> None:
    assert places(config_of(1), None, range(16), {BINDING: "0,1"}, quota=2.0) == [{}]
    found = places(config_of(1), None, range(16), {THREADS: "3"}, quota=2.0)
    assert found == [CALM]
