"""How quick an engine is, asked for nothing else: steps by batch and adapters, prompts, loads.

Through the gateway, as in the run that is to be reproduced, so that its way and the client's are in the
figures. Prompts come after pauses and are of many lengths: an engine that has waited takes longer for its
next step, and so does one that sees so many rows for the first time.
"""

from __future__ import annotations

import asyncio
import json
import random
import statistics
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import NamedTuple

from gateway.errors import EngineFailure
from launch.bench.overhead import payload
from launch.bench.overhead.stream_load import connect, request_bytes
from launch.engine.http import with_key

PATH = "/v1/completions"
LEAST_TOKEN, MOST_TOKEN = 1000, 20_000
"""Ids that any base of size has, and no special ones."""
SHORT = 8
"""Tokens of a prompt that is to take little."""
FEW = 8
"""Tokens of answers in which one longer step can be seen, and a step as it is on average."""
LONG = 64
"""Of an answer that keeps an engine at work."""


@dataclass(frozen=True)
class Probes:
    """What an engine is asked to learn its speed: batches, and prompts of several lengths."""

    batches: tuple[tuple[int, int], ...] = ((1, 1), (2, 1), (2, 2), (4, 1), (4, 4), (8, 4), (16, 4))
    """Requests at once, and the adapters that they are for."""
    tokens: int = 24
    """Of each of their answers."""
    prompts: int = 12
    """How many, alone and as many beside a request that runs."""
    prompt_tokens: int = 64
    """Of each of them on average, by an exponential law."""
    pause_s: float = 0.4
    """Before each on average, evenly from nothing to twice as much."""


class Prompted(NamedTuple):
    """A request for a few tokens."""

    prompt_tokens: int
    first_s: float
    """From when it was sent to its first token."""
    step_s: float
    """From there to the last, for each of these: a step as it was then, since a machine is not always as
    quick. Of several steps, since the one right after a prompt takes longer than those that follow it."""


@dataclass(frozen=True)
class Calibration:
    """What was seen, in seconds."""

    step_s: dict[tuple[int, int], float]
    """By requests and adapters in the batch."""
    alone: Sequence[Prompted]
    """Of requests that were alone, their adapter in a slot."""
    joined: Sequence[Prompted]
    """Of those that came while one other request ran, for another adapter that was in a slot too."""
    loaded: Sequence[Prompted]
    """Of those that were alone, their adapter in no slot."""
    packed: Sequence[tuple[int, float]]
    """(adapters, seconds) that a batch on so many took longer than the same once more: it was the first
    since each of them had come into a slot."""


@dataclass(frozen=True)
class Timed:
    """One answer, by the clock of `time.perf_counter`."""

    asked_s: float
    first_s: float
    ended_s: float


def completion_body(model: str, chance: random.Random, prompt_tokens: int, tokens: int) -> bytes:
    """A stream of so many tokens, after a prompt that is in no cache."""
    prompt = [chance.randrange(LEAST_TOKEN, MOST_TOKEN) for _ in range(prompt_tokens)]
    return json.dumps(payload.asked_for(model, prompt, tokens, stream=True)).encode()


class EngineProbe:
    """Asks one engine, or a gateway that has one."""

    def __init__(self, url: str, key: str, models: Sequence[str], seed: str) -> None:
        self._url = url + PATH
        self._headers = with_key(key)
        self._models = models
        self._chance = random.Random(seed)

    async def step_s(self, requests: int, adapters: int, tokens: int) -> float:
        """Of a batch that stays as it is. Raises EngineFailure."""
        names = [self._models[number % adapters] for number in range(requests)]
        answers = await asyncio.gather(*(self._ask(name, SHORT, tokens) for name in names))
        # Who began last saw none of the others begin, and at most a step or two with fewer of them.
        last = max(answers, key=lambda one: one.first_s)
        return (last.ended_s - last.first_s) / (tokens - 1)

    async def prompted(self, prompt_tokens: int, adapter: int = 0, tokens: int = 2) -> Prompted:
        """Two tokens at least. Raises EngineFailure."""
        answer = await self._ask(self._models[adapter], prompt_tokens, tokens)
        step_s = (answer.ended_s - answer.first_s) / (tokens - 1)
        return Prompted(prompt_tokens, answer.first_s - answer.asked_s, step_s)

    @asynccontextmanager
    async def kept_busy(
        self, requests: int, adapter: int = 0, prompt_tokens: int = SHORT, tokens: int = LONG
    ) -> AsyncIterator[None]:
        """So many requests for one adapter run meanwhile, each followed by another. Raises EngineFailure."""

        async def again() -> None:
            while True:
                await self._ask(self._models[adapter], prompt_tokens, tokens)

        running = [asyncio.create_task(again()) for _ in range(requests)]
        try:
            await self.prompted(SHORT, adapter)  # it comes after them
            yield
        finally:
            for task in running:
                task.cancel()
            # What was cancelled has failed in nothing; an engine that has is told.
            for found in await asyncio.gather(*running, return_exceptions=True):
                if isinstance(found, EngineFailure):
                    raise found

    async def _ask(self, model: str, prompt_tokens: int, tokens: int) -> Timed:
        body = completion_body(model, self._chance, prompt_tokens, tokens)
        try:
            client = await connect(self._url)
            try:
                # The connection is there before: the run that is to be reproduced keeps its own.
                asked_s = time.perf_counter()
                answer = await client.ask(request_bytes(self._url, body, self._headers))
                ended_s = time.perf_counter()
            finally:
                client.transport.close()
        except OSError as error:
            raise EngineFailure(f"{self._url}: {error}") from error
        if client.status != 200 or not answer.endswith(payload.DONE):
            raise EngineFailure(f"{self._url}: status {client.status}, {answer[-300:]!r}")
        return Timed(asked_s, client.first_at, ended_s)


@dataclass
class Calibrator:
    """Asks an engine, several times if told so; `result` is of all that was seen."""

    probe: EngineProbe
    asked: Probes
    slots: int
    adapters: int
    seed: str
    _steps: dict[tuple[int, int], list[float]] = field(default_factory=dict)
    _alone: list[Prompted] = field(default_factory=list)
    _joined: list[Prompted] = field(default_factory=list)
    _loaded: list[Prompted] = field(default_factory=list)
    _packed: list[tuple[int, float]] = field(default_factory=list)
    _runs: int = 0

    async def run(self) -> None:
        """Ask for everything once: steps, prompts alone and in company, loads. Raises EngineFailure."""
        chance = random.Random(f"{self.seed}-{self._runs}")  # other lengths each time
        self._runs += 1
        await self._into_slots()
        # All of them and then all again, so that a machine that drifts moves each alike.
        for batch in 2 * self.asked.batches:
            took_s = await self.probe.step_s(*batch, self.asked.tokens)
            self._steps.setdefault(batch, []).append(took_s)
        for _ in range(self.asked.prompts):
            self._alone.append(await self._prompt(chance, 0))
        async with self.probe.kept_busy(1, 1):
            for _ in range(self.asked.prompts):
                self._joined.append(await self._prompt(chance, 0))
        if self.adapters > self.slots:
            await self._into_slots()
            for number in range(self.adapters):
                # One after the other through all of them: each has lost its slot when its turn comes.
                self._loaded.append(await self._prompt(chance, (self.slots + number) % self.adapters))
            fresh_s, again_s = [await self.probe.step_s(self.slots, self.slots, FEW) for _ in range(2)]
            self._packed.append((self.slots, (fresh_s - again_s) * (FEW - 1)))

    @property
    def result(self) -> Calibration:
        """Of the runs so far, of which there must be one."""
        steps = {batch: statistics.median(found) for batch, found in self._steps.items()}
        return Calibration(steps, self._alone, self._joined, self._loaded, self._packed)

    async def _into_slots(self) -> None:
        """The first adapters, one after the other: so they will lose their slots, too."""
        for adapter in range(self.slots):
            await self.probe.prompted(SHORT, adapter)

    async def _prompt(self, chance: random.Random, adapter: int) -> Prompted:
        await asyncio.sleep(chance.uniform(0, 2 * self.asked.pause_s))
        tokens = 1 + int(chance.expovariate(1 / self.asked.prompt_tokens))
        return await self.probe.prompted(tokens, adapter, FEW)
