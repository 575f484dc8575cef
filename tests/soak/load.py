"""The load: so many requests a second of a seeded mix, each judged, until the time is over."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from tests.soak.http_client import BrokenOff, Connections
from tests.soak.kinds import Kind, Verdict

TICK_S = 0.01
LIMIT_S = 60.0
"""Of one request; one that takes longer has a wrong answer."""
EXCUSED_S = 3.0
"""After an engine is back."""


@dataclass
class Load:
    """`keys` by their share of the requests."""

    port: int
    keys: Sequence[tuple[str, float]]
    kinds: Sequence[Kind]
    seed: int
    most_at_once: int
    verdicts: Counter[str] = field(default_factory=Counter)
    by_kind: dict[str, Counter[str]] = field(default_factory=dict)
    by_key: dict[str, Counter[str]] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)
    times_s: list[float] = field(default_factory=list)
    """Of right answers, but those to faults, since they were taken last."""
    skipped: int = 0
    """Requests that were due while `most_at_once` were under way."""
    away: bool = False
    """An engine is, by our own doing."""
    _back_at: float = float("-inf")
    _count: int = 0

    def __post_init__(self) -> None:
        self._chance = random.Random(self.seed)
        self._connections = {key: Connections("127.0.0.1", self.port) for key, _ in self.keys}
        self._running: set[asyncio.Task[None]] = set()

    def back(self) -> None:
        """The engine listens again."""
        self.away, self._back_at = False, asyncio.get_running_loop().time()

    async def run(self, per_s: float, seconds: float) -> None:
        """`per_s` 0: `most_at_once` clients, each as fast as it is answered."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        due = 0.0
        while (now := loop.time() - began) < seconds:
            free = self.most_at_once - len(self._running)
            wanted = now * per_s - due if per_s else float(free)
            for _ in range(int(wanted)):
                due += 1
                if len(self._running) < self.most_at_once:
                    self._begin()
                else:
                    self.skipped += 1
            await asyncio.sleep(TICK_S)

    async def end(self) -> None:
        """Wait for what is under way, and leave."""
        await asyncio.gather(*self._running)
        for connections in self._connections.values():
            connections.close()

    def _begin(self) -> None:
        (kind,) = self._chance.choices(self.kinds, [one.weight for one in self.kinds])
        (key,) = self._chance.choices([key for key, _ in self.keys], [share for _, share in self.keys])
        self._count += 1
        words = f"n{self._count} " + " ".join(f"w{self._chance.randrange(1000)}" for _ in range(3))
        task = asyncio.create_task(self._one(kind, key, words))
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def _one(self, kind: Kind, key: str, words: str) -> None:
        began = asyncio.get_running_loop().time()
        verdict: Verdict
        shown = ""
        try:
            async with asyncio.timeout(LIMIT_S):
                answer = await self._connections[key].ask(kind.path, kind.body(words), key, kind.leave_after)
            verdict = kind.verdict(answer, words)
            if answer is not None:
                shown = f"{answer.status} {answer.body[-300:]!r}"
                if verdict == "right" and kind.timed:
                    self.times_s.append(answer.took_s)
        except (BrokenOff, TimeoutError) as error:
            verdict, shown = "wrong", repr(error)
        excused = self.away or began < self._back_at + EXCUSED_S
        if verdict == "failed" and not excused:
            verdict = "wrong"
        self.verdicts[verdict] += 1
        self.by_kind.setdefault(kind.name, Counter())[verdict] += 1
        self.by_key.setdefault(key[-1], Counter())[verdict] += 1
        if verdict == "wrong" and len(self.wrong) < 100:
            self.wrong.append(f"{kind.name}: {shown}")
