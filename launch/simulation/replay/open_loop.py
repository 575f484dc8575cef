"""Requests that came at their own times, played again through the gateway by an engine's figures."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from launch.simulation.engine import SimulatedEngine
from launch.simulation.engine_speed import EngineSpeed
from launch.simulation.replay.admission import AdmittedEngines
from launch.simulation.replay.jumping_loop import run_jumping
from launch.simulation.request import Request


def play(
    requests: Sequence[Request],
    adapters: Sequence[str],
    speed: EngineSpeed,
    engines: int,
    *,
    least_residency_s: float,
    seed: int = 1,
    before: Sequence[Request] = (),
) -> int:
    """Until each was answered: `first_s` and `end_s` are set; how many loads into slots there were.

    `before` are played first, and what they loaded is not counted; then the times of `requests` are moved
    behind their end. Every adapter is on every engine. The engines share one machine, and their slots hold
    the first adapters when it begins. One that the gateway refuses has no first token.
    """
    made = [SimulatedEngine(f"engine-{number}", speed) for number in range(engines)]
    for engine in made:
        engine.beside = [other for other in made if other is not engine]
        engine.resident.update(dict.fromkeys(adapters[: speed.slots]))

    async def served() -> None:
        gateway = AdmittedEngines(made, adapters, least_residency_s, seed)
        await gateway.serve(before)
        for engine in made:
            engine.loads = 0
        ended_s = asyncio.get_running_loop().time()
        for request in requests:
            request.at_s += ended_s
        await gateway.serve(requests)

    run_jumping(served())
    return sum(engine.loads for engine in made)
