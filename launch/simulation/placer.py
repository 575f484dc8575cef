"""The control plane in simulated time: it counts what is asked for, and carries a plan out now and then."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from gateway.placement.engine_place import EnginePlace
from gateway.placement.plan import plan
from gateway.placement.rules import Rules
from launch.simulation.engine import SimulatedEngine
from launch.simulation.request import Request

HALF_LIFE_S = 60.0
"""Of what was asked for, when it counts half."""


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
        self._asked = dict.fromkeys(adapters, 0.0)
        self._recent = dict.fromkeys(adapters, 0.0)
        self._since_s = 0.0
        self.due_s = every_s
        self.moves = 0
        """Loads that plans have brought, the first homes left out."""
        self.homes: Mapping[str, tuple[str, ...]] = {}
        self._carry_out()
        self.moves = 0

    def asked(self, request: Request) -> None:
        """A request has come."""
        self._recent[request.adapter] += self._speed.work(request.prompt_tokens, request.output_tokens)

    def replan(self, now: float) -> None:
        """Look at what was asked for since the last time, and move what the plan says."""
        passed_s = now - self._since_s
        kept = 0.5 ** (passed_s / HALF_LIFE_S) if self._since_s else 0.0
        for adapter, work in self._recent.items():
            self._asked[adapter] = kept * self._asked[adapter] + (1 - kept) * work / passed_s
            self._recent[adapter] = 0.0
        self._since_s, self.due_s = now, now + self._every_s
        self._carry_out(loading=True)

    def _carry_out(self, *, loading: bool = False) -> None:
        places = [
            EnginePlace(name, one.speed.slots, frozenset(self.holds[name]))
            for name, one in self._engines.items()
        ]
        made = plan(self._asked, places, self._rules)
        self.homes = made.homes
        for move in made.moves:
            if not move.load:
                self.holds[move.engine].remove(move.adapter_id)
                continue
            self.holds[move.engine].add(move.adapter_id)
            self.moves += 1
            if loading:
                self._engines[move.engine].load(move.adapter_id)
