"""Requests that were with an engine when it died: which are held back, which are sent no more.

Pure: nothing waits or is written here, and times are given (seconds of the clock). A request is known by the
digest of the body that went to the engine, an engine's process by a name of its own (`Upstream.process`).

A death makes suspects of all that it broke off. A suspect that is answered is cleared; one that was with a
second process when that died is condemned. Both are forgotten `FORGET_S` after the last death.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import msgspec

from gateway.config.snapshot import Blame

MOST_DEATHS = 2
FORGET_S = 3600.0
MOST = 4096
"""Digests that are remembered; of more, those of the oldest deaths are forgotten."""
TOLD_WITHIN_S = 60.0
"""A process's end is told so long after it broke its requests off, at the latest."""
RESTS_S = 10.0
"""So long a request that was broken off is held back though no death was told of yet."""

Verdict = Literal["free", "suspect", "condemned"]


class SuspectRecord(msgspec.Struct, frozen=True):
    """What is known of a digest."""

    deaths: tuple[str, ...] = ()
    """The processes that it may have ended; none where memory ran out, which may be anybody's doing."""
    at: float = 0.0

    @property
    def condemned(self) -> bool:
        return len(self.deaths) >= MOST_DEATHS


Records = dict[str, SuspectRecord]


@dataclass(frozen=True)
class _Fall:
    at: float
    answered: bool


class Suspects:
    """What one process of the gateway knows: `records`, which others are told of by `merged`, and what has
    `fallen` with each process of the engine's. Where there are neither, no request need be looked at.
    """

    def __init__(self) -> None:
        self.records: Records = {}
        self.fallen: dict[str, dict[str, _Fall]] = {}
        self._dead: dict[str, tuple[Blame, float]] = {}

    @property
    def is_unsure(self) -> bool:
        """Whether any request is remembered as fallen with a process, or recorded and not condemned."""
        return bool(self.fallen) or any(not record.condemned for record in self.records.values())

    def fell(self, process: str, digest: str, now: float, *, answered: bool) -> Records:
        """A request was broken off, or `answered` with a failure of the engine's own; what is new by that."""
        dead = self._dead.get(process)
        if dead is not None:
            # The control plane was quicker than this request's connection.
            return self._blamed(process, {digest: _Fall(now, answered)}, dead[0], now)
        falls = self.fallen.setdefault(process, {})
        if digest in falls or len(falls) < MOST:
            falls[digest] = _Fall(now, answered or (digest in falls and falls[digest].answered))
        return {}

    def died(self, process: str, blame: Blame, now: float) -> Records:
        """A process has ended; what is new by that. Told again, it is nothing."""
        if process in self._dead:
            return {}
        self._dead[process] = blame, now
        return self._blamed(process, self.fallen.pop(process, {}), blame, now)

    def _blamed(self, process: str, falls: Mapping[str, _Fall], blame: Blame, now: float) -> Records:
        if blame == "nobody":
            return {}
        new: Records = {}
        for digest, fall in falls.items():
            if blame == "unknown" and not fall.answered:
                continue  # a server that is stopped breaks off too; one that dies says so first
            one = SuspectRecord(() if blame == "memory" else (process,), now)
            former = self.records.get(digest)
            new[digest] = one if former is None else _both(former, one)
        self.records |= new
        return new

    def verdict(self, digest: str, now: float, came: float | None = None) -> Verdict:
        """`came`: since when it waits. What fell again since then are its equals; had an engine died of one,
        that would have been told of meanwhile.
        """
        record = self.records.get(digest)
        if record is not None and now - record.at < FORGET_S:
            return "condemned" if record.condemned else "suspect"
        if came is not None and now - came >= RESTS_S:
            return "free"
        falls = (one[digest] for one in self.fallen.values() if digest in one)
        return "suspect" if any(now - fall.at < RESTS_S for fall in falls) else "free"

    def clear(self, digest: str) -> bool:
        """It was answered: whether others have to hear of that."""
        for falls in self.fallen.values():
            falls.pop(digest, None)
        return self.records.pop(digest, None) is not None

    def forget(self, now: float) -> None:
        """Let go what is over."""
        self.records = kept(self.records, now)
        self._dead = {name: one for name, one in self._dead.items() if now - one[1] < FORGET_S}
        for process, falls in list(self.fallen.items()):
            recent = {digest: fall for digest, fall in falls.items() if now - fall.at < TOLD_WITHIN_S}
            if recent:
                self.fallen[process] = recent
            else:
                del self.fallen[process]


def merged(one: Records, other: Records) -> Records:
    """The records of both; where both have a digest, the two are put together."""
    return one | {
        digest: _both(one[digest], record) if digest in one else record for digest, record in other.items()
    }


def kept(records: Records, now: float) -> Records:
    """Those that are not over, the newest first where there are too many."""
    recent = [(digest, one) for digest, one in records.items() if now - one.at < FORGET_S]
    if len(recent) > MOST:
        recent = sorted(recent, key=lambda item: -item[1].at)[:MOST]
    return dict(recent)


def _both(one: SuspectRecord, other: SuspectRecord) -> SuspectRecord:
    return SuspectRecord(tuple(dict.fromkeys((*one.deaths, *other.deaths))), max(one.at, other.at))
