"""A whole simulation, small: what it must find whatever the figures are."""

from __future__ import annotations

from dataclasses import replace

import pytest

from launch.simulation.arrivals import OfferedLoad
from launch.simulation.engine_speed import GPU_8B
from launch.simulation.policies import ALONE, ANY_SLOT, NAMES, OURS
from launch.simulation.run import Scenario, simulate

SMALL = Scenario(GPU_8B, 8, 100, 1.0, OfferedLoad("poisson", 25.0, 60.0, 500, 150), slo_s=2.0)


def test_one_seed_gives_one_answer() -> None:
    assert simulate(SMALL, OURS) == simulate(SMALL, OURS)
    assert simulate(SMALL, OURS) != simulate(replace(SMALL, seed=2), OURS)


@pytest.mark.parametrize("policy", NAMES)
def test_with_a_slot_for_everyone_and_little_to_do_everybody_is_quick(policy: str) -> None:
    idle = replace(SMALL, adapters=8, load=replace(SMALL.load, requests_per_s=4.0))
    found = simulate(idle, policy)
    assert found.good_share == 1.0
    assert found.loads_per_minute <= 64


def test_no_policy_is_quicker_than_each_request_alone() -> None:
    alone = simulate(SMALL, ALONE)
    assert (alone.good_share, alone.loads_per_minute) == (1.0, 0)
    for named in (*NAMES, ANY_SLOT):
        found = simulate(SMALL, named)
        assert found.first_token_p50_s >= alone.first_token_p50_s
        assert found.first_token_p99_s >= alone.first_token_p99_s


def test_with_a_slot_for_every_adapter_slots_make_nobody_wait() -> None:
    least_loaded, any_slot = simulate(SMALL, "least-loaded"), simulate(SMALL, ANY_SLOT)
    assert any_slot.first_token_p99_s < 0.1 * least_loaded.first_token_p99_s
    assert any_slot.good_share > least_loaded.good_share


def test_slots_that_are_fought_for_make_the_difference() -> None:
    ours, least_loaded = simulate(SMALL, OURS), simulate(SMALL, "least-loaded")
    assert ours.first_token_p99_s <= 0.5 * least_loaded.first_token_p99_s
    assert ours.loads_per_minute <= 0.7 * least_loaded.loads_per_minute
    assert ours.goodput_per_s > 1.15 * least_loaded.goodput_per_s
