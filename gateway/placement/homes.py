"""Which engine an adapter's next home is: rendezvous hashing with bounds, and a way where all seem full."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterator, Mapping
from itertools import islice

from gateway.placement.layout import Layout
from gateway.placement.rendezvous import Heights, weighed

EVENNESS = 1.25
"""An engine is a new home only while its load stays below this many times the mean engine's."""
TRIED = 4
"""So many engines of a ranking are tried one by one before all are looked through at once."""


class Finder:
    """Finds homes in one layout; `quota` is how many adapters each engine may have."""

    def __init__(self, layout: Layout, quota: Mapping[str, int]) -> None:
        self._layout = layout
        self._quota = quota
        total = sum(layout.demand.values())
        slots = max(sum(layout.slots.values()), 1)
        self._bound = {name: EVENNESS * total * count / slots for name, count in layout.slots.items()}
        self._open: dict[int, Heights] = {}
        """Slots → the engines of so many that have room."""
        self._with_room: set[str] = set()
        """Of all slots."""
        self._ranks = ""
        """The adapter that the following is of."""
        self._first: list[str] = []
        self._rest: Iterator[str] = iter(())
        for count in set(layout.slots.values()):
            self._look_again(count)

    def room(self, engine: str) -> int:
        """How many more it may have."""
        return self._quota[engine] - len(self._layout.on[engine])

    def find(self, adapter_id: str) -> str | None:
        """Where it is to be loaded; None where every engine that is not closed to it is full.

        The first of its ranking that has room and is not loaded beyond the others; where all are, the one
        with the least load.
        """
        loads, closed = self._layout.tokens_per_s, self._layout.closed_to(adapter_id)
        share, bound = self._layout.share(adapter_id, 1), self._bound
        for name in islice(self._ranked(adapter_id), TRIED):
            if name not in closed and loads[name] + share <= bound[name]:
                return name
        able = self._with_room.difference(closed)
        within = {name for name in able if loads[name] + share <= bound[name]}
        if within:
            return next(name for name in self._ranked(adapter_id) if name in within)
        return min(able, key=lambda name: (loads[name] / self._layout.slots[name], name), default=None)

    def _ranked(self, adapter_id: str) -> Iterator[str]:
        """Those with room, in its order; what its home before asked for is known for the next one."""
        if self._ranks != adapter_id:
            self._ranks = adapter_id
            self._first, self._rest = [], _in_order(self._open, adapter_id)
        yield from self._first
        for name in self._rest:
            self._first.append(name)
            yield name

    def changed(self, engine: str) -> None:
        """A home was made or given up there."""
        count = self._layout.slots[engine]
        if (self.room(engine) > 0) is not (engine in self._with_room):
            self._look_again(count)

    def _look_again(self, count: int) -> None:
        slots = self._layout.slots
        self._ranks = ""  # what is known is of those that had room before
        of_these = [name for name in slots if slots[name] == count]
        able = [name for name in of_these if self.room(name) > 0]
        self._with_room.difference_update(of_these)
        self._with_room.update(able)
        self._open[count] = Heights(able)

    def way(self, adapter_id: str) -> list[tuple[str, str, str]] | None:
        """Moves (adapter, from, to) after which there is room for another home: at the last one's `from`.

        Each engine that is full may give something to one that has not got it, until one with room is
        reached (an augmenting path, the shortest). None where there is none.
        """
        layout = self._layout
        closed = layout.closed_to(adapter_id)
        starts = [name for name in layout.on if name not in closed]
        came: dict[str, tuple[str, str] | None] = dict.fromkeys(starts)
        queue = deque(starts)
        while queue:
            full = queue.popleft()
            for other in layout.on:
                if other in came:
                    continue
                # The adapter itself stays where it is: it is to have a home more.
                spare = layout.on[full] - layout.on[other] - layout.refused_by(other) - {adapter_id}
                if not spare:
                    continue
                came[other] = (full, min(spare, key=lambda each: (layout.demand[each], each)))
                if self.room(other) > 0:
                    return _path(came, other)
                queue.append(other)
        return None


def _in_order(weighted: Mapping[int, Heights], adapter_id: str) -> Iterator[str]:
    """`ranking`'s order, of those in `weighted` by their weight. Each next one is looked for when it is asked
    for: among those of one weight the highest is first, so that no other need be weighed."""
    if len(weighted) == 1:
        (heights,) = weighted.values()
        return (name for _, name in heights.in_order(adapter_id))
    each = (_weighed(heights, weight, adapter_id) for weight, heights in weighted.items())
    return (name for _, name in heapq.merge(*each))


def _weighed(heights: Heights, weight: int, adapter_id: str) -> Iterator[tuple[float, str]]:
    return ((-weighed(height, weight), name) for height, name in heights.in_order(adapter_id))


def _path(came: Mapping[str, tuple[str, str] | None], end: str) -> list[tuple[str, str, str]]:
    path: list[tuple[str, str, str]] = []
    step = came[end]
    while step is not None:
        start, adapter_id = step
        path.append((adapter_id, start, end))
        end, step = start, came[start]
    return path
