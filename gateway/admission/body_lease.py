"""What one request's body takes of the bytes that all bodies may have together."""

from __future__ import annotations

from gateway.admission.byte_budget import ByteBudget
from gateway.errors import Unavailable

FREE_BELOW_BYTES = 64 * 1024
"""So much a connection holds anyway, and most requests are smaller."""


class BodyLease:
    """Of one request; `end` must follow. A request that needs no more than a connection has costs nothing."""

    __slots__ = ("_bodies", "_owner", "_patience_s", "_size_bytes")

    def __init__(self, bodies: ByteBudget, owner: str, patience_s: float) -> None:
        """`owner`: whose (`Principal.payer`); `patience_s`: how long it may wait before it is refused."""
        self._bodies = bodies
        self._owner = owner
        self._patience_s = patience_s
        self._size_bytes = 0

    async def take(self, size_bytes: int) -> None:
        """Before so much is read; once for each lease. It waits, while the client's bytes stay unread.

        Raises Unavailable (503) where others need the room for too long.
        """
        if size_bytes < FREE_BELOW_BYTES:
            return
        try:
            await self._bodies.take(size_bytes, self._patience_s, self._owner)
        except TimeoutError:
            raise Unavailable(
                "The bodies of other requests take all the memory that they may, and within "
                f"{self._patience_s:.0f} s none came free (gateway.max_held_body_bytes).",
                code="overloaded",
                retry_after_s=5,
            ) from None
        self._size_bytes = size_bytes

    def settle(self, size_bytes: int) -> None:
        """It has turned out to be so large: what was taken beyond that is free."""
        if size_bytes < self._size_bytes:
            self._bodies.give_back(self._size_bytes - size_bytes, self._owner)
            self._size_bytes = size_bytes

    def end(self) -> None:
        """The request is over: all that is still taken is free. A second time does nothing."""
        self.settle(0)
