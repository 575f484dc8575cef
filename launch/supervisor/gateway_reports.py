"""The gateways as their reports show them: what they route by, and what they still have in flight."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

from gateway.config.snapshot import GatewayReport, on_engine
from launch.supervisor.placement.demand import Demand
from launch.supervisor.replicas.autoscale import QueueLoad


@dataclass(frozen=True)
class Heard:
    """A gateway's last report, and when it came (monotonic seconds)."""

    report: GatewayReport
    at: float


class Gateways:
    """Every gateway that listens for events; one that leaves is forgotten with what it reported."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._heard: dict[str, Heard] = {}
        self._listening: dict[str, int] = {}
        self._news = asyncio.Condition()
        self.demand = Demand()
        self.some_unheard = False
        """There may be some that had no way to report yet: nothing is at rest before they had."""

    async def joined(self, gateway: str) -> None:
        # Counted, since a gateway may be back before its earlier connection is known to be gone.
        self._listening[gateway] = self._listening.get(gateway, 0) + 1
        # Of version 0: until its first report nothing is told to all, and nothing at rest.
        self._heard.setdefault(gateway, Heard(GatewayReport(gateway, 0), self._clock()))
        await self._tell()

    async def left(self, gateway: str) -> None:
        self._listening[gateway] -= 1
        if self._listening[gateway] <= 0:
            del self._listening[gateway]
            self._heard.pop(gateway, None)
            self.demand.left(gateway)
        await self._tell()

    async def all_heard(self) -> None:
        """Whoever there is could report by now."""
        if self.some_unheard:
            self.some_unheard = False
            await self._tell()

    async def report(self, report: GatewayReport) -> None:
        if report.gateway in self._listening:  # a late report would hold up every change for who has left
            now = self._clock()
            self._heard[report.gateway] = Heard(report, now)
            self.demand.told(report.gateway, report.tokens, now)
            await self._tell()

    async def _tell(self) -> None:
        async with self._news:
            self._news.notify_all()

    def released(self, adapter_id: str, version: int) -> bool:
        """Whether every gateway routes by `version` or a later one and has no request on that id."""
        return self._all(version, lambda report: adapter_id not in report.busy)

    def load(self, coming: int) -> QueueLoad:
        """What all have together, with so many engines on their way."""
        reports = [one.report for one in self._heard.values()]
        return QueueLoad(
            in_flight=sum(one.in_flight for one in reports),
            wait_s=max((one.queue_s for one in reports), default=0.0),
            cold=sum(one.waiting for one in reports),
            coming=coming,
        )

    def idle_s(self, since: float) -> float:
        """Seconds without any request; `since` (monotonic) is when that could begin at the earliest."""
        if self.some_unheard:
            return 0.0
        now = self._clock()
        idle = now - since
        for one in self._heard.values():
            if one.report.in_flight or one.report.waiting:
                return 0.0
            if one.report.last_request_s is not None:  # as of its report
                idle = min(idle, one.report.last_request_s + now - one.at)
        return idle

    async def told(self, version: int, timeout_s: float) -> bool:
        """Wait until all route by `version` or a later one; False after `timeout_s`."""
        return await self._until(lambda: self._route_by(version), timeout_s)

    async def quiet(self, version: int, timeout_s: float) -> bool:
        """Wait until all route by `version` and have nothing in flight; False after `timeout_s`."""
        return await self._until(lambda: self._all(version, lambda report: not report.in_flight), timeout_s)

    async def left_alone(self, engine: str, version: int, timeout_s: float) -> bool:
        """Wait until all route by `version` and have nothing in flight there; False after `timeout_s`."""
        return await self._until(
            lambda: self._all(version, lambda report: not report.draining.get(engine)), timeout_s
        )

    async def until_released(self, adapter_id: str, version: int, timeout_s: float) -> bool:
        """Wait for `released`; False after `timeout_s`."""
        return await self._until(lambda: self.released(adapter_id, version), timeout_s)

    async def until_left(self, engine: str, adapter_id: str, version: int, timeout_s: float) -> bool:
        """Wait until all route by `version` and have no request for that adapter there; False after that."""
        pair = on_engine(engine, adapter_id)
        return await self._until(
            lambda: self._all(version, lambda report: pair not in report.leaving), timeout_s
        )

    def _all(self, version: int, at_rest: Callable[[GatewayReport], bool]) -> bool:
        """Whether every gateway routes by `version` or a later one, and is at rest by what it reports."""
        at_rest_all = all(at_rest(one.report) for one in self._heard.values())
        return at_rest_all and not self.some_unheard and self._route_by(version)

    def _route_by(self, version: int) -> bool:
        return all(one.report.version >= version for one in self._heard.values())

    async def _until(self, condition: Callable[[], bool], timeout_s: float) -> bool:
        try:
            async with asyncio.timeout(timeout_s), self._news:
                await self._news.wait_for(condition)
        except TimeoutError:
            return False
        return True
