"""The text of `/metrics`."""

from __future__ import annotations

import asyncio

from gateway.metrics.counters import Metrics
from gateway.routing.replicas import Replicas
from gateway.scrape.engine_figures import EngineFigures
from gateway.scrape.engine_states import build_info, engine_families
from gateway.scrape.engine_text import joined


class Scrape:
    """One worker's; use it in its event loop."""

    def __init__(self, metrics: Metrics, replicas: Replicas) -> None:
        self._metrics = metrics
        self._replicas = replicas
        self._figures = EngineFigures(replicas)

    async def text(self) -> tuple[bytes, str]:
        """Everything, and its content type; made in a thread."""
        engines = await self._figures.now()
        snapshot, alive = self._replicas.snapshot, self._replicas.control_alive

        def render() -> tuple[bytes, str]:
            others = [build_info(), *engine_families(snapshot, alive, engines.keys())]
            text, content_type = self._metrics.render(snapshot.faults, others)
            return text + joined(engines.values()).encode(), content_type

        return await asyncio.to_thread(render)

    async def stop(self) -> None:
        """Ask no engine any more."""
        await self._figures.stop()
