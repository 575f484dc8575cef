"""Who is where while a plan is made: homes, the load that follows from them, and what was changed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from gateway.placement.engine_place import EnginePlace


@dataclass(frozen=True, slots=True)
class Move:
    """One adapter is loaded on an engine, or unloaded there, and why."""

    adapter_id: str
    engine: str
    load: bool
    why: str


class Layout:
    """The homes as they would be. An adapter's tokens/s are shared by its homes alike."""

    def __init__(self, demand: Mapping[str, float], engines: Sequence[EnginePlace]) -> None:
        self.demand = demand
        self.slots = {one.name: one.slots for one in engines}
        self.homes: dict[str, list[str]] = {adapter_id: [] for adapter_id in demand}
        self.on: dict[str, set[str]] = {}
        self.tokens_per_s: dict[str, float] = {}
        self._moves: dict[tuple[str, str], Move] = {}
        self._refuses = {one.name: one.refuses for one in engines}
        self._refused: dict[str, list[str]] = {}
        for one in engines:
            for each in one.refuses:
                self._refused.setdefault(each, []).append(one.name)
            self.on[one.name] = {each for each in one.holds if each in demand}
            for each in self.on[one.name]:
                self.homes[each].append(one.name)
        for name, held in self.on.items():
            # Sorted, since a sum of floats hangs on its order, and a set's order on the process.
            self.tokens_per_s[name] = sum(map(self.share, sorted(held)))

    @property
    def moves(self) -> tuple[Move, ...]:
        """What was changed, unloads first, so that there is room for what is loaded."""
        return tuple(sorted(self._moves.values(), key=lambda move: (move.load, move.engine, move.adapter_id)))

    def share(self, adapter_id: str, more: int = 0) -> float:
        """What it needs of each of its homes, were there `more` of them."""
        homes = len(self.homes[adapter_id]) + more
        return self.demand[adapter_id] / homes if homes else 0.0

    def closed_to(self, adapter_id: str) -> list[str]:
        """The engines that are no new home of it: it is there already, or could not be loaded."""
        homes, refused = self.homes[adapter_id], self._refused.get(adapter_id)
        return [*homes, *refused] if refused else homes

    def refused_by(self, engine: str) -> frozenset[str]:
        """What cannot be moved to that engine."""
        return self._refuses[engine]

    def fullness(self, engine: str) -> float:
        """Adapters that are placed on the engine for each of its LoRA slots."""
        return len(self.on[engine]) / max(self.slots[engine], 1)

    def load(self, adapter_id: str, engine: str, why: str) -> None:
        """Give the adapter another home and note the move, with `why` for whoever reads the plan."""
        # Each home's part changes with their number: the old ones go from all, then the new ones come.
        homes = self.homes[adapter_id]
        if homes:
            self._shift(adapter_id, -1)
        homes.append(engine)
        self.on[engine].add(adapter_id)
        self._shift(adapter_id, 1)
        self._note(Move(adapter_id, engine, True, why))

    def unload(self, adapter_id: str, engine: str, why: str) -> None:
        """Take a home from the adapter and note the move, with `why` for whoever reads the plan."""
        self._shift(adapter_id, -1)
        self.homes[adapter_id].remove(engine)
        self.on[engine].remove(adapter_id)
        self._shift(adapter_id, 1)
        self._note(Move(adapter_id, engine, False, why))

    def unwanted(self, engines: Iterable[EnginePlace], why: str) -> None:
        """Unload what the engines hold and nobody asks to keep."""
        for one in engines:
            for each in one.holds:
                if each not in self.demand:
                    self._note(Move(each, one.name, False, why))

    def _shift(self, adapter_id: str, sign: int) -> None:
        share = sign * self.share(adapter_id)
        for engine in self.homes[adapter_id] if share else ():
            self.tokens_per_s[engine] += share

    def _note(self, move: Move) -> None:
        """A move that takes back another leaves none of both."""
        place = (move.adapter_id, move.engine)
        former = self._moves.get(place)
        if former is not None and former.load != move.load:
            del self._moves[place]
        else:
            self._moves[place] = move
