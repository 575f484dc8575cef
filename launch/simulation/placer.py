"""The control plane in simulated time: it counts what is asked for, and carries a plan out now and then."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from gateway.placement.engine_place import EnginePlace
from gateway.placement.fading import FadingRate
from gateway.placement.plan import plan
from gateway.placement.rules import Rules
from launch.simulation.engine import SimulatedEngine
from launch.simulation.request import Request


class Placer:
    """`homes` by adapter; `due_s` is when `replan` is to be called next."""

    def __init__(
        self, engines: Sequence[SimulatedEngine], adapters: Sequence[str], rules: Rules, every_s: float
    ) -> None:
        self._engines = {one.name: one for one in engines}
        self._speed = engines[0].speed
        self.holds: dict[str, set[str]] = {one.name: set() for one in engines}
        self._rules = rules
        self._every_s = every_s
        self._adapters = adapters
        self._rate = FadingRate()
        self._rate.begin(0.0)
        self.due_s = every_s
        self.homes: Mapping[str, tuple[str, ...]] = {}
        # The first homes are there before time begins: no step is held up by a load, and none is counted.
        self._carry_out(0.0)

    def asked(self, request: Request) -> None:
        """Count a request that has come into its adapter's rate, by which homes are planned."""
        work = self._speed.work(request.prompt_tokens, request.output_tokens)
        self._rate.add(request.adapter, work, request.at_s)

    def replan(self, now: float) -> None:
        """Look at what was asked for of late, and move what the plan says."""
        self.due_s = now + self._every_s
        self._carry_out(now, loading=True)

    def _carry_out(self, now: float, *, loading: bool = False) -> None:
        places = [
            EnginePlace(name, one.speed.slots, frozenset(self.holds[name]))
            for name, one in self._engines.items()
        ]
        asked = self._rate.tokens_per_s(now)
        made = plan({each: asked.get(each, 0.0) for each in self._adapters}, places, self._rules)
        self.homes = made.homes
        for move in made.moves:
            if not move.load:
                self.holds[move.engine].remove(move.adapter_id)
                continue
            self.holds[move.engine].add(move.adapter_id)
            if loading:
                self._engines[move.engine].load(move.adapter_id)
