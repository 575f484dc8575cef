"""A process on its way out: what it has accepted ends, what comes is told to go elsewhere."""

from __future__ import annotations

from collections.abc import Callable

from gateway.errors import Unavailable

COME_AGAIN_S = 5
"""A replacement is there by then, or another gateway behind the same address."""


class Drain:
    """Shared by a process's server and its application."""

    __slots__ = ("begun", "break_off", "over")

    def __init__(self, break_off: Callable[[Callable[[], Unavailable]], None]) -> None:
        """`break_off` ends what is at the engines, each exchange with an error of its own."""
        self.begun = False
        """Nothing new is accepted."""
        self.over = False
        """The time for what was accepted is over too."""
        self.break_off = break_off


def shutting_down() -> Unavailable:
    """The 503 of a gateway that is about to end."""
    return Unavailable(
        "The gateway is shutting down; send the request again.",
        code="shutting_down",
        retry_after_s=COME_AGAIN_S,
    )
