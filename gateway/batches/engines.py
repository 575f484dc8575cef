"""Whether a line's model can be answered. Lines wait for an engine as long as it takes."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator

from gateway.routing.cold_start import WaitingRoom
from gateway.routing.replicas import Replicas

LOOK_S = 5.0
"""What nobody announces, such as a control plane that is gone, is looked at this often."""


class Engines:
    """The engines as a batch sees them."""

    def __init__(self, replicas: Replicas, room: WaitingRoom) -> None:
        self._replicas = replicas
        self._room = room
        self._waiting = 0

    async def until_servable(self, model: str) -> None:
        """Wait while no engine is there. One that is there without the model says so itself."""
        replicas = self._replicas
        # A model that the table has no more is asked for: the endpoint says so in its own words.
        while not replicas.servable(model) and replicas.table.get(model) and not replicas.ready:
            with self._wanted():
                # Of the table that was looked at: a new one sets it, and brings another event.
                news = replicas.news
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(LOOK_S):
                        await news.wait()

    @contextlib.contextmanager
    def _wanted(self) -> Iterator[None]:
        """An engine that starts on demand is asked for; however many lines wait, they take one place."""
        self._waiting += 1
        if self._waiting == 1:
            self._room.waiting += 1
            self._room.wanted.set()
        try:
            yield
        finally:
            self._waiting -= 1
            if not self._waiting:
                self._room.waiting -= 1
