"""Stands before the engines: what may have ended one is sent again alone, and not a third time.

What is decided stands in `suspects`; here it is waited, written and said. It costs a request nothing while no
engine has died: its digest is made only where one has, or where the request itself was broken off.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import math
import time
from collections.abc import Callable
from pathlib import Path

from gateway.admission.suspect_file import SuspectFile
from gateway.admission.suspect_line import SuspectLine, Turn
from gateway.admission.suspects import Records, SuspectRecord, Suspects, Verdict, kept, merged
from gateway.config.snapshot import Snapshot
from gateway.errors import DeadlineExceeded, EngineKilled, Unavailable
from gateway.http.engine_connection import Segments

logger = logging.getLogger("gateway.admission.death_guard")

DIGEST_DIGITS = 16
NEWS_S = 0.25
"""Between two looks at what other workers know."""


def digest_of(body: Segments) -> str:
    """The request, by the body that goes to the engine."""
    digest = hashlib.sha256()
    for piece in body:
        digest.update(piece)
    return digest.hexdigest()[:DIGEST_DIGITS]


class DeathGuard:
    """Of one event loop. `most_waiting` suspects wait for their turn, each for `wait_s` at the most."""

    def __init__(
        self, state_dir: Path, most_waiting: int, wait_s: float, clock: Callable[[], float] = time.time
    ) -> None:
        """`clock` gives the seconds that are written down, the same for all workers."""
        self._suspects = Suspects()
        self._file = SuspectFile(state_dir)
        self._most_waiting = most_waiting
        self._wait_s = wait_s
        self._clock = clock
        self._line = SuspectLine(self._judged, self._file.try_turn, self._look, clock)
        self._look_at = 0.0

    def watches(self) -> bool:
        """Whether a request must be looked at before it is sent."""
        # Not `clock`: where that was set back, nobody would look until it is where it was.
        now = time.monotonic()
        if now >= self._look_at:
            self._look_at = now + NEWS_S
            self._look()
        return bool(self._suspects.records or self._suspects.fallen)

    @property
    def is_unsure(self) -> bool:
        """Whether what ended an engine is still looked for: then nothing is sent that nobody waits for."""
        return self._suspects.is_unsure

    def verdict(self, body: Segments) -> Verdict:
        """Of a request that nobody has sent yet. Raises EngineKilled for one that is sent no more."""
        return self._judged(digest_of(body))

    async def admit(self, body: Segments, left_s: float = math.inf) -> Turn | None:
        """Let a request through; a suspect once it is its turn, which has to be given back.

        `left_s`: how long its client waits from now. What is a suspect only because no death was told of yet
        waits `RESTS_S` at the most.

        Raises EngineKilled (500), Unavailable (503) where too many wait or it takes too long, and
        DeadlineExceeded (504).
        """
        if not self.watches():
            return None
        digest = digest_of(body)
        if self._judged(digest) == "free":
            return None
        if len(self._line) >= self._most_waiting:
            raise self._busy(f"{len(self._line)} wait, the most that may.")
        try:
            async with asyncio.timeout(min(self._wait_s, left_s)):
                return await self._line.turn(digest)
        except TimeoutError:
            if left_s < self._wait_s:
                raise DeadlineExceeded from None
            raise self._busy(f"it was not its turn within {self._wait_s:.0f} s.") from None

    def _busy(self, why: str) -> Unavailable:
        return Unavailable(
            "The engine died or broke off while it had this request, and such requests are sent again one at "
            f"a time: {why}",
            code="overloaded",
            retry_after_s=self._line.retry_after_s(),
        )

    def _judged(self, digest: str, came: float | None = None) -> Verdict:
        """Raises EngineKilled."""
        verdict = self._suspects.verdict(digest, self._clock(), came)
        if verdict == "condemned":
            logger.warning("request %s was with two engines that died: it is refused", digest)
            raise EngineKilled(
                "The engine died twice while it had this request, so it is not sent again. The engine's log "
                f"says of what; the gateway's names the request {digest}."
            )
        return verdict

    def fell(self, process: str, body: Segments, *, answered: bool) -> None:
        """An engine's process broke a request off, or `answered` with a failure of its own."""
        self._tell(self._suspects.fell(process, digest_of(body), self._clock(), answered=answered))

    def answered(self, digest: str) -> None:
        """A suspect was answered: it is none."""
        if self._suspects.clear(digest):
            logger.info("request %s was answered, and is a suspect no more", digest)
            self._change(lambda known: {key: one for key, one in known.items() if key != digest})
        self._line.go_on()

    def heard(self, snapshot: Snapshot) -> None:
        """What the control plane says of engines that ended."""
        now = self._clock()
        for engine in snapshot.engines:
            death = engine.last_death
            if death is not None:
                self._tell(self._suspects.died(death.process, death.blame, now))

    def _tell(self, new: Records) -> None:
        if not new:
            return
        for digest, record in new.items():
            logger.warning("request %s was with an engine that died (%s)", digest, _shown(record))
        # Written while nothing else runs here: the client's retry may be at another worker in a moment.
        self._change(lambda known: merged(known, new))
        self._line.go_on()

    def _look(self) -> None:
        self._suspects.forget(self._clock())
        known = self._file.changed()
        if known is not None:
            self._suspects.records = kept(known, self._clock())

    def _change(self, to: Callable[[Records], Records]) -> None:
        try:
            records = self._file.change(lambda known: kept(to(known), self._clock()))
        except OSError as error:
            # This worker knows it all the same (`Suspects`).
            logger.error("suspects cannot be written down: %s", error)
        else:
            self._suspects.records = records


def _shown(record: SuspectRecord) -> str:
    if record.condemned:
        return "it is not sent again"
    return "it is sent again alone" if record.deaths else "for want of memory: it is sent again alone"
