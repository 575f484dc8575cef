"""Unknown keys, counted by the address that they come from: said once a minute, and bounded."""

from __future__ import annotations

import ipaddress
import logging
import math
import time
from collections import OrderedDict
from collections.abc import Callable

logger = logging.getLogger("gateway.admission.bad_keys")

WINDOW_S = 60.0
MOST_ADDRESSES = 4096
"""Remembered at once; the one that began first is forgotten for another."""


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
        self._now = now
        self._windows: OrderedDict[str, tuple[float, int]] = OrderedDict()
        """When each began, and its count; in the order in which they began."""

    def count(self, address: str) -> int | None:
        """One more from there: None, or the whole seconds to wait where it is one too many."""
        address = network_of(address)
        now = self._now()
        self._close_until(now - WINDOW_S)
        began, seen = self._windows.get(address, (now, 0))
        if not seen:
            logger.warning("an unknown API key came from %s", address or "an unknown address")
            self._noted(address, 1)
            while len(self._windows) >= MOST_ADDRESSES:
                self._close()
        seen += 1
        self._windows[address] = (began, seen)
        if seen == self._most + 1:
            logger.warning("more than %d unknown API keys a minute come from %s: 429", self._most, address)
        return None if seen <= self._most else math.ceil(began + WINDOW_S - now)

    def close(self) -> None:
        """Tell what is counted and not told yet."""
        while self._windows:
            self._close()

    def _close_until(self, began: float) -> None:
        while self._windows and next(iter(self._windows.values()))[0] <= began:
            self._close()

    def _close(self) -> None:
        address, (_, seen) = self._windows.popitem(last=False)
        if seen > 1:
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
