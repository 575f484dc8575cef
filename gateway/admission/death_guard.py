"""Stands before the engines: what may have ended one is sent again alone, and not a third time.

What is decided stands in `suspects`; here it is waited, written and said. It costs a request nothing while no
engine has died: its digest is made only where one has, or where the request itself was broken off.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import time
from collections.abc import Callable
from pathlib import Path

from gateway.admission.suspect_file import SuspectFile
from gateway.admission.suspects import Records, SuspectRecord, Suspects, Verdict, kept, merged
from gateway.config.snapshot import Snapshot
from gateway.errors import EngineKilled, Unavailable
from gateway.http.engine_connection import Segments

logger = logging.getLogger("gateway.admission.death_guard")

DIGEST_DIGITS = 16
TURN_S = 30.0
"""A suspect that runs for longer keeps the next one waiting no more."""
LOOK_S = 0.1
"""Between two looks for the turn, which another worker's suspect has."""
NEWS_S = 0.25
"""Between two looks at what other workers know."""


def digest_of(body: Segments) -> str:
    """The request, by the body that goes to the engine."""
    digest = hashlib.sha256()
    for piece in body:
        digest.update(piece)
    return digest.hexdigest()[:DIGEST_DIGITS]


class Turn:
    """A suspect's, from before it is sent until it is answered or `TURN_S` are over."""

    def __init__(self, lock: asyncio.Lock, descriptor: int | None, digest: str) -> None:
        self.digest = digest
        self._lock = lock
        self._descriptor = descriptor
        self._open = True
        self._timer = asyncio.get_running_loop().call_later(TURN_S, self.give_back)

    def give_back(self) -> None:
        """The next one's turn. Idempotent."""
        if self._open:
            self._open = False
            self._timer.cancel()
            if self._descriptor is not None:
                os.close(self._descriptor)
            self._lock.release()


class DeathGuard:
    """Of one event loop. `most_waiting` suspects wait for their turn, each for `wait_s` at the most."""

    def __init__(self, state_dir: Path, most_waiting: int, wait_s: float) -> None:
        self._suspects = Suspects()
        self._file = SuspectFile(state_dir)
        self._most_waiting = most_waiting
        self._wait_s = wait_s
        self._waiting = 0
        self._lock = asyncio.Lock()
        self._look_at = 0.0

    def watches(self) -> bool:
        """Whether a request must be looked at before it is sent."""
        now = time.monotonic()
        if now >= self._look_at:
            self._look_at = now + NEWS_S
            self._look()
        return self._suspects.watchful

    @property
    def is_unsure(self) -> bool:
        """Whether what ended an engine is still looked for: then nothing is sent that nobody waits for."""
        return self._suspects.is_unsure

    def verdict(self, body: Segments) -> Verdict:
        """Of a request that nobody has sent yet. Raises EngineKilled for one that is sent no more."""
        return self._judged(digest_of(body))

    async def admit(self, body: Segments) -> Turn | None:
        """Let a request through; a suspect once it is its turn, which has to be given back.

        Raises EngineKilled (500), and Unavailable (503) where too many wait or it takes too long.
        """
        if not self.watches():
            return None
        digest = digest_of(body)
        if self._judged(digest) == "free":
            return None
        busy = "The engine died while it had this request, and such requests are sent again one at a time: "
        if self._waiting >= self._most_waiting:
            raise Unavailable(
                f"{busy}{self._waiting} wait, the most that may.", code="overloaded", retry_after_s=5
            )
        self._waiting += 1
        try:
            async with asyncio.timeout(self._wait_s):
                return await self._turn(digest)
        except TimeoutError:
            message = f"{busy}it was not its turn within {self._wait_s:.0f} s."
            raise Unavailable(message, code="overloaded", retry_after_s=5) from None
        finally:
            self._waiting -= 1

    async def _turn(self, digest: str) -> Turn | None:
        await self._lock.acquire()
        try:
            while self._judged(digest) == "suspect":
                try:
                    descriptor = self._file.try_turn()
                except OSError as error:  # then no other worker is waited for
                    logger.error("suspects cannot take turns with other workers: %s", error)
                    return Turn(self._lock, None, digest)
                if descriptor is not None:
                    return Turn(self._lock, descriptor, digest)
                await asyncio.sleep(LOOK_S)
                self._look()
        except BaseException:
            self._lock.release()
            raise
        self._lock.release()
        return None

    def _judged(self, digest: str) -> Verdict:
        verdict = self._suspects.verdict(digest, time.time())
        if verdict == "condemned":
            logger.warning("request %s was with two engines that died: it is refused", digest)
            raise EngineKilled(
                "The engine died twice while it had this request, so it is not sent again. The engine's log "
                f"says of what; the gateway's names the request {digest}."
            )
        return verdict

    def fell(self, process: str, body: Segments, *, answered: bool) -> None:
        """An engine's process broke a request off, or `answered` with a failure of its own."""
        self._tell(self._suspects.fell(process, digest_of(body), time.time(), answered=answered))

    def answered(self, digest: str) -> None:
        """A suspect was answered: it is none."""
        if self._suspects.clear(digest):
            logger.info("request %s was answered, and is a suspect no more", digest)
            self._change(lambda known: {key: one for key, one in known.items() if key != digest})

    def heard(self, snapshot: Snapshot) -> None:
        """What the control plane says of engines that ended."""
        now = time.time()
        for engine in snapshot.engines:
            death = engine.last_death
            if death is not None:
                self._tell(self._suspects.died(death.process, death.blame, now))

    def _tell(self, new: Records) -> None:
        if not new:
            return
        for digest, record in new.items():
            logger.warning("request %s was with an engine that died (%s)", digest, _shown(record))
        self._change(lambda known: merged(known, new))

    def _look(self) -> None:
        self._suspects.forget(time.time())
        known = self._file.changed()
        if known is not None:
            self._suspects.records = kept(known, time.time())

    def _change(self, to: Callable[[Records], Records]) -> None:
        try:
            records = self._file.change(lambda known: kept(to(known), time.time()))
        except OSError as error:
            logger.error("suspects cannot be written down: %s", error)
        else:
            self._suspects.records = records


def _shown(record: SuspectRecord) -> str:
    if record.condemned:
        return "it is not sent again"
    return "it is sent again alone" if record.deaths else "for want of memory: it is sent again alone"
