"""Unknown keys, counted by the address that they come from: said once a minute, and bounded."""

from __future__ import annotations

import ipaddress
import logging
import math
import time
from collections.abc import Callable

from gateway.admission.refused_keys import MinuteWindows

logger = logging.getLogger("gateway.admission.bad_keys")


class BadKeys:
    """A window of a minute for each address, from its first bad key on.

    Guessing a key of 256 bits is hopeless at any rate; the bound keeps a client with a wrong key from costing
    more than a refusal, and the log from growing with it.
    """

    def __init__(
        self,
        most_per_window: int = 60,
        now: Callable[[], float] = time.monotonic,
        noted: Callable[[str, int], None] = lambda address, count: None,
    ) -> None:
        """`noted` is told an address and a count: of the first in a window, and of all at its end."""
        self._noted = noted
        self._most = most_per_window
        self._windows = MinuteWindows[str](self._ended, now)

    def count(self, address: str) -> int | None:
        """One more from there: None, or the whole seconds to wait where it is one too many."""
        address = network_of(address)
        seen, left_s = self._windows.count(address)
        if seen == 1:
            logger.warning("an unknown API key came from %s", address or "an unknown address")
            self._noted(address, 1)
        if seen == self._most + 1:
            logger.warning("more than %d unknown API keys a minute come from %s: 429", self._most, address)
        return None if seen <= self._most else math.ceil(left_s)

    def close(self) -> None:
        """Tell what is counted and not told yet."""
        self._windows.close()

    def _ended(self, address: str, seen: int) -> None:
        logger.warning("%d unknown API keys came from %s in a minute", seen, address)
        self._noted(address, seen)


def network_of(address: str) -> str:
    """What one client has: of IPv6 the whole network of 64 bits, in which it may call itself anything."""
    if ":" not in address:
        return address
    try:
        found = ipaddress.IPv6Address(address.partition("%")[0])
    except ValueError:
        return address
    if found.ipv4_mapped is not None:
        return str(found.ipv4_mapped)
    return str(ipaddress.IPv6Network((int(found), 64), strict=False))
