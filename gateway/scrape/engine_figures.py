"""What engines say of themselves, asked at a scrape: once a second at most, and hardly waited for."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from gateway.errors import RequestError
from gateway.routing.load_follower import METRICS
from gateway.routing.replica import Replica, fetch
from gateway.routing.replicas import Replicas
from gateway.scrape.engine_text import EngineText, selected
from gateway.upkeep import end_tasks

FRESH_S = 1.0
"""What was asked since is shown again: several scrapers cost an engine no more than one."""
PATIENCE_S = 0.25
"""A scrape waits so long for an engine that has answered the last time, and not at all for another."""
ANSWER_S = 5.0
STALE_S = 15.0
"""Older figures are left out rather than shown as those of now."""


@dataclass(slots=True, eq=False)
class _Known:
    text: EngineText = field(default_factory=EngineText)
    at: float = float("-inf")
    asked_at: float = float("-inf")
    answers: bool = True
    task: asyncio.Task[None] | None = None


class EngineFigures:
    """One worker's; use it in its event loop."""

    def __init__(self, replicas: Replicas, clock: Callable[[], float] = time.monotonic) -> None:
        self._replicas = replicas
        self._clock = clock
        self._known: dict[Replica, _Known] = {}

    async def now(self) -> dict[str, EngineText]:
        """By engine what it says of itself; an engine that does not answer is left out."""
        ready, now = self._replicas.ready, self._clock()
        self._known = {one: self._known.get(one) or _Known() for one in ready}
        for replica, known in self._known.items():
            if known.task is None and now - known.asked_at >= FRESH_S:
                known.asked_at = now
                known.task = asyncio.create_task(self._ask(replica, known))
        awaited = [one.task for one in self._known.values() if one.task is not None and one.answers]
        if awaited:
            await asyncio.wait(awaited, timeout=PATIENCE_S)
        for known in self._known.values():
            known.answers = known.task is None and known.answers
        now = self._clock()
        return {one.name: known.text for one, known in self._known.items() if now - known.at <= STALE_S}

    async def stop(self) -> None:
        """End the questions that are under way; their engines' figures stay as they were."""
        await end_tasks(known.task for known in self._known.values())

    async def _ask(self, replica: Replica, known: _Known) -> None:
        answers = False
        try:
            async with asyncio.timeout(ANSWER_S):
                status, body = await fetch(replica.upstream, METRICS)
            if status == 200:
                text = body.decode(errors="replace")
                known.text = await asyncio.to_thread(selected, text, replica.name)
                known.at = self._clock()
                answers = True
        except (RequestError, TimeoutError):
            pass  # it is left out; that it is ill shows elsewhere
        finally:
            known.answers, known.task = answers, None
