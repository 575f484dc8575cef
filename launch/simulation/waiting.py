"""Who waits at an engine, and who is in its batch next: as vLLM does it."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping

from launch.simulation.request import Request


class InOrder:
    """First come first served, passing over those whose adapter finds no slot in the batch, as vLLM does."""

    def __init__(self, slots: int) -> None:
        self._most = slots
        self._lanes: dict[str, deque[Request]] = {}
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, request: Request) -> None:
        """It comes to the engine."""
        self._lanes.setdefault(request.adapter, deque()).append(request)
        self._count += 1

    def remove(self, request: Request) -> bool:
        """Whether it waited here; it is the oldest of its adapter's, since clients are alike patient."""
        lane = self._lanes.get(request.adapter)
        if lane is None or lane[0] is not request:
            return False
        lane.popleft()
        if not lane:
            del self._lanes[request.adapter]
        self._count -= 1
        return True

    def next(self, busy: Mapping[str, int]) -> Request | None:
        """Who may begin now; `busy` are the adapters in the batch, with their requests."""
        able = self._lanes if len(busy) < self._most else self._lanes.keys() & busy.keys()
        first = min(able, key=lambda adapter: self._lanes[adapter][0].at_s, default=None)
        if first is None:
            return None
        lane = self._lanes[first]
        request = lane.popleft()
        if not lane:
            del self._lanes[first]
        self._count -= 1
        return request
