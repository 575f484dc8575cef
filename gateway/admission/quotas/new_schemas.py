"""Schemas that were not seen before, counted by the key that sends them.

The engine makes a grammar of each and keeps it for the next request with the same one. A client has a few,
or one for each question of an evaluation; one that sends others without end has the engine compile for it
alone.
"""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from collections.abc import Callable

from gateway.admission.quotas.bucket import level_now, seconds_until
from gateway.errors import TooManyRequests

MOST_REMEMBERED = 4096
"""Over all keys; the one that was asked for longest ago is forgotten for another."""


class NewSchemas:
    """A minute's allowance for each key; whoever sent a schema first, it is new to nobody after that."""

    def __init__(self, most_per_minute: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._most = most_per_minute
        self._clock = clock
        self._known: OrderedDict[int, None] = OrderedDict()
        """By what Python makes of their bytes with a secret of this process, which nobody can aim at."""
        self._left: dict[str, tuple[float, float]] = {}

    def charge(self, owner: str, count: int) -> None:
        """A schema of the key's was as dear as so many."""
        now = self._clock()
        level, at = self._left.get(owner, (0.0, 0.0))
        self._left[owner] = (level_now(level, at, now, self._most) - count, now)

    def check(self, owner: str, param: str, schema: bytes) -> None:
        """Raises TooManyRequests (429) where it is new and the key has sent too many that were."""
        digest = hash(schema)
        if digest in self._known:
            self._known.move_to_end(digest)
            return
        now = self._clock()
        level, at = self._left.get(owner, (0.0, 0.0))
        level = level_now(level, at, now, self._most)
        if level < 1:
            raise TooManyRequests(
                f"The key has sent {self._most} schemas within a minute that were new here, the most that it "
                "may (gateway.max_new_schemas_per_minute). One that was sent before is not new: repeat it, "
                "or wait.",
                param=param,
                code="too_many_schemas",
                retry_after_s=math.ceil(seconds_until(level, 1, self._most)),
            )
        self._left[owner] = (level - 1, now)
        self._known[digest] = None
        if len(self._known) > MOST_REMEMBERED:
            self._known.popitem(last=False)
