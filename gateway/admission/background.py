"""Places for requests that come behind every client's: those of batches.

One begins only while no client waits and there is room, and then takes no place of theirs: a client that
comes after it finds the bounds as if it were not there. How many there may be is their owner's to bound.
"""

from __future__ import annotations

import asyncio

from gateway.admission.limits import Admission

LOOK_EVERY_S = 0.05
"""Room comes with other requests' ends and with time; to be told of it would cost every client's request."""


class Background:
    """Places beside an Admission's bounds, for requests that no client waits for."""

    def __init__(self, admission: Admission) -> None:
        self._admission = admission
        self._places = 0
        """Of all of them: with those of several sequences no more than clients may have in flight."""

    async def until_room(self, task: str) -> None:
        """Wait as `enter` does, and take nothing: for who would hold something meanwhile."""
        while self._admission.is_waited_for or not self._admission.has_room(task):  # noqa: ASYNC110 - see above
            await asyncio.sleep(LOOK_EVERY_S)

    async def enter(self, task: str, adapter_id: str | None, places: int = 1) -> None:
        """Wait for room, as long as it takes; `leave` must follow. Raises KeyError for an unknown task."""
        admission = self._admission
        # `try_beside` comes last, since it takes a place.
        while not (  # noqa: ASYNC110 - see above
            (places == 1 or not self._places or self._places + places <= admission.max_in_flight)
            and admission.has_room(task)
            and admission.try_beside(adapter_id)
        ):
            await asyncio.sleep(LOOK_EVERY_S)
        self._places += places
        admission.held += 1

    def leave(self, adapter_id: str | None, places: int = 1, seat: str | None = None) -> None:
        """Give back what one `enter` took, with what it was entered with, and its `Admission.seat`."""
        self._places -= places
        self._admission.held -= 1
        self._admission.leave_beside(adapter_id, seat)
