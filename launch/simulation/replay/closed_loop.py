"""Clients that ask again once they are answered, in simulated time: what `bench slots` does."""

from __future__ import annotations

import random
import statistics
from collections.abc import Collection, Iterator, Sequence

from gateway.placement.rules import Rules
from launch.simulation.arrivals import Zipf
from launch.simulation.engine import NEVER, SimulatedEngine
from launch.simulation.engine_speed import EngineSpeed
from launch.simulation.figures import percentile
from launch.simulation.gateway_turns import GatewayTurns
from launch.simulation.placer import Placer
from launch.simulation.policies import RoundRobin
from launch.simulation.replay.measured import DIRECT, FIGURES, SlotSettings, Visit
from launch.simulation.request import Request
from launch.simulation.world import AtOnce, Router, World

REPEATS = 15
"""Visits simulated for each that was measured; of so few requests a median would jump, so the mean counts."""
LONG_S = 3600.0


def replayed(
    visit: Visit, settings: SlotSettings, speed: EngineSpeed, repeats: int = REPEATS
) -> dict[str, float]:
    """The figures of one visit, by `FIGURES`; the same each time."""
    found = [_one(visit, settings, speed, seed) for seed in range(repeats)]
    return {figure: statistics.fmean(one[figure] for one in found) for figure in FIGURES}


class _Loop:
    """A router before another one: whoever was answered asks again, until the window is over."""

    def __init__(self, inner: Router, visit: Visit, settings: SlotSettings, seed: int) -> None:
        self._inner = inner
        self._visit = visit
        self._settings = settings
        # One for each client, as in the bench: what one draws does not hang on who was answered before it.
        self._chances = [random.Random(f"{seed}-{client}") for client in range(settings.clients)]
        self._popularity = Zipf(visit.adapters, 0.0 if visit.law == "uniform" else 1.0)
        self._client: dict[Request, int] = {}

    @property
    def requests(self) -> Collection[Request]:
        """All that were asked, in order."""
        return self._client.keys()

    @property
    def due_s(self) -> float:
        return self._inner.due_s

    def asks(self, client: int, now: float) -> Request:
        """The client's next request, by the law of the visit that is played again."""
        chance, names = self._chances[client], self._popularity.names
        own = self._visit.law == "own"
        adapter = names[client % len(names)] if own else self._popularity.draw(chance)
        tokens = chance.randint(self._settings.least_tokens, self._settings.most_tokens)
        request = Request(now, adapter, self._settings.prompt_tokens, tokens)
        self._client[request] = client
        return request

    def arrives(self, request: Request, now: float) -> Iterator[tuple[int, Request]]:
        return self._inner.arrives(request, now)

    def ended(self, number: int, request: Request, now: float) -> Iterator[tuple[int, Request]]:
        yield from self._inner.ended(number, request, now)
        if now < self._settings.window_s:
            yield from self._inner.arrives(self.asks(self._client[request], now), now)

    def due(self, now: float) -> Iterator[tuple[int, Request]]:
        return self._inner.due(now)

    def abandon(self, request: Request) -> None:
        self._inner.abandon(request)


def _one(visit: Visit, settings: SlotSettings, speed: EngineSpeed, seed: int) -> dict[str, float]:
    engines = [SimulatedEngine(f"engine-{number}", speed) for number in range(settings.engines)]
    loop = _Loop(_router(visit, settings, engines, seed), visit, settings, seed)
    # Nobody leaves: the bench's clients wait for each answer.
    world = World(engines, loop, NEVER)
    for client in range(settings.clients):
        world.arrives(loop.asks(client, 0.0))
    world.until(LONG_S)
    waits = [one.first_s - one.at_s for one in loop.requests]
    done = sum(one.end_s <= settings.window_s for one in loop.requests)
    return {
        "requests_per_s": done / settings.window_s,
        "first_token_p50_s": percentile(waits, 0.5),
        "first_token_p99_s": percentile(waits, 0.99),
    }


def _router(visit: Visit, settings: SlotSettings, engines: Sequence[SimulatedEngine], seed: int) -> Router:
    """Straight to vLLM the engines are asked in turn; the gateway has every adapter on every engine."""
    if visit.arm == DIRECT:
        return AtOnce(RoundRobin(engines))
    names = Zipf(visit.adapters).names
    placer = Placer(engines, names, Rules(min_replicas=len(engines)), NEVER)
    return GatewayTurns(engines, placer, settings.least_residency_s, random.Random(seed))
