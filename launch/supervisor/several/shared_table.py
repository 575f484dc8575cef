"""The snapshot's way to gateways on other machines, and their reports' way back: through Redis."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from contextlib import suppress

import msgspec

from gateway.agreement.link import Away, RedisLink
from gateway.agreement.policies import MEMBER_ALIVE_S, PROBE_S, SAY_AGAIN_S
from gateway.agreement.table_scripts import (
    COLLECT,
    MISSING,
    NEWS,
    OUTLIVED,
    WRITE,
    report_keys,
    table_keys,
)
from gateway.config.snapshot import GatewayReport
from gateway.errors import NOT_JSON
from launch.supervisor.gateway_reports import Gateways
from launch.supervisor.publisher import Publisher

logger = logging.getLogger("launch.supervisor.several.shared_table")

COLLECT_EVERY_S = 0.25
SETTLES_WITHIN_S = 15.0
"""So long at most the last leader's table goes on while this one's engines are not known yet."""


class SharedTable:
    """`write` and `collect` run beside each other."""

    def __init__(
        self,
        link: RedisLink,
        publisher: Publisher,
        gateways: Gateways,
        wanted: Callable[[], None],
        outlived: Callable[[], None],
        clock: Callable[[], float] = time.monotonic,
        settled: Callable[[], bool] = lambda: True,
    ) -> None:
        """`wanted`: somebody waits for an engine; `outlived`: a later control plane has taken over;
        `settled`: it is known how each engine stands.
        """
        self._settled = settled
        self._link = link
        self._publisher = publisher
        self._gateways = gateways
        self._wanted = wanted
        self._outlived = outlived
        self._clock = clock
        self._seen: dict[str, float] = {}
        gateways.some_unheard = True
        self._reached_at: float | None = None
        """Since when Redis answers; None while it does not."""

    async def write(self) -> None:
        """Each snapshot, and each second a word that it is still the one; until cancelled."""
        news = self._publisher.listener()
        began = self._clock()
        try:
            while not self._settled() and self._clock() - began < SETTLES_WITHIN_S:
                news.clear()
                with suppress(TimeoutError):
                    async with asyncio.timeout(COLLECT_EVERY_S):
                        await news.wait()
            while True:
                try:
                    await self.write_once()
                    pause_s = SAY_AGAIN_S
                except Away:
                    pause_s = PROBE_S
                try:
                    async with asyncio.timeout(pause_s):
                        await news.wait()
                except TimeoutError:
                    continue
                news.clear()
        finally:
            self._publisher.forget(news)

    async def write_once(self) -> None:
        """Write the table for the other gateways, unless one of a later life is there. Raises Away."""
        publisher, link = self._publisher, self._link
        version = publisher.snapshot.version
        # Version and line are taken together here: while Redis is asked a later snapshot may be published.
        # Without the line first, as most words only say that this one lives; Redis asks for what it lacks.
        alive_ms = f"{MEMBER_ALIVE_S * 1000:.0f}"
        for line in (b"", publisher.line):
            said: list[str | bytes] = [str(publisher.life), str(version), line, link.key(NEWS), alive_ms]
            outcome = await link.run(WRITE, table_keys(link), said)
            if outcome == OUTLIVED:
                self._outlived()
            if outcome != MISSING:
                return

    async def collect(self) -> None:
        """What gateways report, until cancelled."""
        while True:
            try:
                await self.collect_once()
            except Away:
                await asyncio.sleep(PROBE_S)
            await asyncio.sleep(COLLECT_EVERY_S)

    async def collect_once(self) -> None:
        """Raises Away; who reported before counts as there meanwhile."""
        try:
            alive_s = f"{MEMBER_ALIVE_S:.0f}"
            reports, demand = await self._link.run(COLLECT, report_keys(self._link), [alive_s])
        except Away:
            self._reached_at = None
            raise
        now = self._clock()
        if self._reached_at is None:
            self._reached_at = now
        for line in reports:
            try:
                report = msgspec.json.decode(line, type=GatewayReport)
            except NOT_JSON as error:
                logger.error("a gateway's report in Redis cannot be read: %s", error)
                continue
            if report.gateway not in self._seen:
                await self._gateways.joined(report.gateway)
            self._seen[report.gateway] = now
            await self._gateways.report(report)
        # A Redis that lost what it had does not know those who live: they report again within two seconds.
        since = self._reached_at
        if now - since >= MEMBER_ALIVE_S:
            await self._gateways.all_heard()
        for gone in [name for name, at in self._seen.items() if now - max(at, since) > MEMBER_ALIVE_S]:
            del self._seen[gone]
            await self._gateways.left(gone)
        if demand:
            self._wanted()
