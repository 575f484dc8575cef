"""The simulation itself: arrivals, engines and the control plane, in the order of their times."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

from gateway.admission.turns.lora_slots import QUANTUM
from gateway.placement.rules import Rules
from launch.simulation.arrivals import OfferedLoad, Zipf, requests_of
from launch.simulation.engine import SimulatedEngine
from launch.simulation.engine_speed import EngineSpeed
from launch.simulation.figures import PolicyFigures, figures_of
from launch.simulation.gateway_turns import GatewayTurns
from launch.simulation.placer import Placer
from launch.simulation.policies import ALONE, ANY_SLOT, LEAST_LOADED, OURS, policy_of
from launch.simulation.request import Request
from launch.simulation.world import AtOnce, Router, World

WARM_UP = 0.2
"""Of the duration, what comes before anything is counted."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """Everything that is simulated but the policy, which is compared."""

    speed: EngineSpeed
    replicas: int
    adapters: int
    zipf: float
    load: OfferedLoad
    slo_s: float
    """A request counts as good if its first token comes within this."""
    patience_s: float = 10.0
    """A client that has had no token by then leaves, where its request has not begun."""
    min_replicas: int = 2
    """Homes of each adapter, so that a request has a choice."""
    moves_per_minute: float = 6.0
    """Loads that plans may bring, for each replica."""
    replan_s: float = 10.0
    least_residency_s: float = 0.5
    seed: int = 1
    quantum: int = QUANTUM
    """Of a turn at a slot: requests one after the other."""


def simulate(scenario: Scenario, policy: str) -> PolicyFigures:
    """One policy under one load, or one of `BOUNDS`.

    Raises ConfigError for a policy or a pattern that there is not.
    """
    popularity = Zipf(scenario.adapters, scenario.zipf)
    requests = requests_of(scenario.load, popularity, scenario.seed)
    if policy == ALONE:
        return _alone(scenario, requests)
    if policy == ANY_SLOT:
        free = replace(scenario.speed, slots=max(scenario.adapters, scenario.speed.seats), load_s=0.0)
        return replace(simulate(replace(scenario, speed=free), LEAST_LOADED), policy=ANY_SLOT)
    engines = [SimulatedEngine(f"engine-{number}", scenario.speed) for number in range(scenario.replicas)]
    router = _router(scenario, policy, engines, popularity.names)
    counted_from_s = WARM_UP * scenario.load.duration_s
    world = World(engines, router, scenario.patience_s)
    loads = 0
    for request in requests:
        world.until(request.at_s)
        if request.at_s < counted_from_s:
            loads = sum(one.loads for one in engines)
        world.arrives(request)
    world.until(scenario.load.duration_s)
    loads = sum(one.loads for one in engines) - loads
    return figures_of(
        policy, requests, counted_from_s, scenario.load.duration_s, loads, scenario.slo_s, scenario.patience_s
    )


def _alone(scenario: Scenario, requests: Sequence[Request]) -> PolicyFigures:
    speed, load = scenario.speed, scenario.load
    for one in requests:
        one.first_s = one.at_s + speed.decode_s(1, 1) + one.prompt_tokens / speed.prompt_tokens_per_s
        one.end_s = one.first_s + (one.output_tokens - 1) * speed.decode_s(1, 1)
    from_s = WARM_UP * load.duration_s
    return figures_of(ALONE, requests, from_s, load.duration_s, 0, scenario.slo_s, scenario.patience_s)


def _router(
    scenario: Scenario, named: str, engines: Sequence[SimulatedEngine], adapters: Sequence[str]
) -> Router:
    chance = random.Random(f"{named}-{scenario.seed}")
    if named != OURS:
        return AtOnce(policy_of(named, engines, adapters, chance))
    rules = Rules(
        min_replicas=scenario.min_replicas,
        max_moves=max(1, round(scenario.moves_per_minute * scenario.replicas * scenario.replan_s / 60)),
        engine_tokens_per_s=scenario.speed.tokens_per_s,
    )
    placer = Placer(engines, adapters, rules, scenario.replan_s)
    return GatewayTurns(engines, placer, scenario.least_residency_s, chance, scenario.quantum)
