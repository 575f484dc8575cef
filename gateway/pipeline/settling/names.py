"""No two elements of a list with one name, in the order of the elements.

Each element's name is settled once those before it are, which costs a stream nothing: it is sent in that
order anyway. Elements are named at the same time, so none can know of its siblings when it is asked first.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterable

from pydantic import JsonValue

from gateway.pipeline.settling.spelling import folded


def is_free(name: str, taken: Iterable[str]) -> bool:
    """Whether no other is the same but for case, form of Unicode and white space."""
    return folded(name) not in {folded(other) for other in taken}


def unwanted(taken: Iterable[str]) -> list[JsonValue]:
    """The names as an engine's `bad_words`, which look at letters: in the usual cases too."""
    spelled = (way for name in taken for way in (name, name.lower(), name.title(), name.upper()) if name)
    return list(dict.fromkeys(spelled))


def numbered(name: str, taken: Iterable[str]) -> str:
    """The name with the lowest number behind it that makes it free: `fruit (2)`."""
    others = {*map(folded, taken)}
    ways = (f"{name} ({number})".strip() for number in itertools.count(2))
    return next(way for way in ways if folded(way) not in others)


class Names:
    """The names of one list, as they become known."""

    def __init__(self) -> None:
        self._names: dict[int, str | None] = {}
        self._known: dict[int, asyncio.Event] = {}
        self.settled: list[JsonValue] = []
        """What was done, for the client: `{"name": …, "was": "taken", "became": …}`."""

    async def before(self, index: int) -> list[str]:
        """Those of the elements before it, once all are known; elements without one have none."""
        for other in range(index):
            await self._event(other).wait()
        return [name for other in range(index) if (name := self._names[other]) is not None]

    def know(self, index: int, name: str | None) -> None:
        """The element has its name for good, or none."""
        self._names.setdefault(index, name)
        self._event(index).set()

    def say(self, name: str, became: str) -> None:
        self.settled.append({"name": name, "was": "taken", "became": became})

    def _event(self, index: int) -> asyncio.Event:
        return self._known.setdefault(index, asyncio.Event())
