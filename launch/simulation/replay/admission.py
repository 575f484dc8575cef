"""The gateway's own admission before simulated engines: places, turns and slots are not told again here."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from contextlib import suppress

from gateway.admission.engine_bound import CLOSELY_S, EVERY_S, FEW, EngineBound, EngineLoad
from gateway.admission.limits import Admission
from gateway.admission.turns.engine_slots import Able, EngineRoom
from gateway.config.document import Config
from gateway.errors import RequestError
from gateway.placement.choice import choose
from launch.simulation.engine import NEVER, SimulatedEngine
from launch.simulation.gateway_turns import candidate_of
from launch.simulation.request import Request

EARLY_S = 1e-9
"""What a loop's clock may lack of the time that it was to wait for."""


class AdmittedEngines:
    """Engines behind one gateway, with every adapter on each. Make and use it in a loop whose clock jumps."""

    def __init__(
        self, engines: Sequence[SimulatedEngine], adapters: Sequence[str], least_residency_s: float, seed: int
    ) -> None:
        self._engines = {engine.name: engine for engine in engines}
        self._chance = random.Random(f"choice-{seed}")
        config = Config.model_validate(
            {
                "base": {"model": "simulated"},
                # The configuration wants a folder for each; nobody looks into it here.
                "tasks": {adapter: {"adapter": "/nowhere"} for adapter in adapters},
                "gateway": {"least_residency_s": least_residency_s},
            }
        )
        self._admission = Admission(config, clock=lambda: asyncio.get_running_loop().time())
        most = config.gateway.max_in_flight
        self._bounds = {name: EngineBound(most, one.speed.seats) for name, one in self._engines.items()}
        # As routing sets it up: turns of one engine are of requests, several have rooms, seats (design 111).
        if len(engines) == 1:
            self._admission.set_slots(engines[0].speed.slots, len(adapters))
        else:
            loaded = frozenset(map(adapter_id, adapters))
            rooms = {name: EngineRoom(one.speed.slots, loaded) for name, one in self._engines.items()}
            self._admission.choose_engine(self._choose, lambda name: self._bounds[name].limit)
            self._admission.follow_slots(rooms)
        self._bound()
        self._wakes: dict[str, asyncio.Event] = {}
        self._ends: dict[Request, asyncio.Event] = {}

    async def serve(self, requests: Sequence[Request]) -> None:
        """All of them, each at its time; one that is refused has no first token."""
        self._wakes = {name: asyncio.Event() for name in self._engines}
        watching = [asyncio.create_task(self._work(name)) for name in self._engines]
        watching.append(asyncio.create_task(self._follow()))
        loop = asyncio.get_running_loop()
        asking: list[asyncio.Task[None]] = []
        for request in requests:
            await asyncio.sleep(max(0.0, request.at_s - loop.time()))
            asking.append(asyncio.create_task(self._ask(request)))
        await asyncio.gather(*asking)
        # Engines and the follower have no end of their own.
        for task in watching:
            task.cancel()

    async def _ask(self, request: Request) -> None:
        model, cost = adapter_id(request.adapter), float(request.prompt_tokens + request.output_tokens)
        try:
            # One key for all: whose turn it is among keys is not what is compared.
            gate = await self._admission.enter(request.adapter, model, key="one", cost=cost)
        except RequestError:
            return
        seat = self._admission.seat(model)
        name = seat or self._choose([Able(each, True, one.in_flight) for each, one in self._engines.items()])
        ended = self._ends[request] = asyncio.Event()
        self._engines[name].arrives(request, asyncio.get_running_loop().time())
        self._wakes[name].set()
        await ended.wait()
        self._admission.leave(gate, model, 1, seat)

    async def _work(self, name: str) -> None:
        """The engine's events, each at its time; an arrival may bring another forward."""
        engine, wake, loop = self._engines[name], self._wakes[name], asyncio.get_running_loop()
        while True:
            wake.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout_at(None if engine.event_at == NEVER else engine.event_at):
                    await wake.wait()
            while engine.event_at <= loop.time() + EARLY_S:
                for request in engine.happens(engine.event_at):
                    self._ends.pop(request).set()

    async def _follow(self) -> None:
        """As `gateway.routing.load_follower` bounds what the engines are given."""
        while True:
            await asyncio.sleep(CLOSELY_S if self._admission.waiting else EVERY_S)
            if self._admission.waiting or self._admission.in_flight >= FEW:
                for name, engine in self._engines.items():
                    self._bounds[name].saw(EngineLoad(engine.running, engine.without_seat))
                self._bound()

    def _bound(self) -> None:
        self._admission.follow(sum(bound.limit for bound in self._bounds.values()))

    def _choose(self, able: Sequence[Able]) -> str:
        candidates = [candidate_of(self._engines[at.name], at, self._bounds[at.name].limit) for at in able]
        return choose(candidates, self._chance).name


def adapter_id(adapter: str) -> str:
    """As the gateway knows an adapter that takes a slot."""
    return f"{adapter}@simulated"
