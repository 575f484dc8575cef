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

    async def enter(self, task: str, adapter_id: str | None) -> None:
        """Wait for room, as long as it takes; `leave` must follow. Raises KeyError for an unknown task."""
        admission = self._admission
        while not (admission.has_room(task) and admission.try_beside(adapter_id)):  # noqa: ASYNC110 - see above
            await asyncio.sleep(LOOK_EVERY_S)
        admission.held += 1

    def leave(self, adapter_id: str | None) -> None:
        """Give the place of one `enter` back, with the adapter it was entered with."""
        self._admission.held -= 1
        self._admission.leave_beside(adapter_id)
