"""How quick an engine is, asked for nothing else: steps by batch and adapters, prompts, loads.

With several engines all are asked the same at once: what they take from one another, and the clients and
the engines' own servers from all, is then in the figures, as it is when they serve.
"""

from __future__ import annotations

import asyncio
import json
import random
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass

from gateway.errors import EngineFailure
from launch.bench.overhead import payload
from launch.bench.overhead.stream_load import connect, request_bytes
from launch.engine.http import with_key

PATH = "/v1/completions"
LEAST_TOKEN, MOST_TOKEN = 1000, 20_000
"""Ids that any base of size has, and no special ones."""


@dataclass(frozen=True)
class Probes:
    """What is asked."""

    batches: tuple[tuple[int, int], ...] = ((1, 1), (2, 1), (4, 1), (4, 4), (8, 4), (16, 4))
    """Requests at once, and the adapters that they are for."""
    tokens: int = 24
    """Of each of their answers."""
    prompts: tuple[int, ...] = (8, 64, 192)
    """Tokens, of a request that is alone."""
    times: int = 4
    """How often each of the prompts is asked for."""


@dataclass(frozen=True)
class Calibration:
    """Medians, in seconds."""

    step_s: dict[tuple[int, int], float]
    """By requests and adapters in the batch."""
    first_s: dict[int, float]
    """To the first token, by prompt tokens, alone and with the adapter in a slot."""
    load_s: float
    """What a first token takes longer whose adapter was in no slot."""


@dataclass(frozen=True)
class Timed:
    """One answer, by the clock of `time.perf_counter`."""

    asked_s: float
    first_s: float
    ended_s: float


def completion_body(model: str, chance: random.Random, prompt_tokens: int, tokens: int) -> bytes:
    """A stream of so many tokens, after a prompt that is in no cache."""
    prompt = [chance.randrange(LEAST_TOKEN, MOST_TOKEN) for _ in range(prompt_tokens)]
    asked = {"model": model, "prompt": prompt, "max_tokens": tokens, "stream": True}
    return json.dumps({**asked, "temperature": 0, "ignore_eos": True}).encode()


class EngineProbe:
    """Asks one engine, past any gateway."""

    def __init__(self, url: str, key: str, adapters: Sequence[str], seed: str) -> None:
        self._url = url + PATH
        self._headers = with_key(key)
        self._adapters = adapters
        self._chance = random.Random(seed)

    async def step_s(self, requests: int, adapters: int, tokens: int) -> float:
        """Of a batch that stays as it is. Raises EngineFailure."""
        names = [self._adapters[number % adapters] for number in range(requests)]
        answers = await asyncio.gather(*(self._ask(name, 8, tokens) for name in names))
        # Who began last saw none of the others begin, and at most a step or two with fewer of them.
        last = max(answers, key=lambda one: one.first_s)
        return (last.ended_s - last.first_s) / (tokens - 1)

    async def first_s(self, prompt_tokens: int, adapter: int = 0) -> float:
        """To the first token of a request that is alone. Raises EngineFailure."""
        answer = await self._ask(self._adapters[adapter], prompt_tokens, 2)
        return answer.first_s - answer.asked_s

    async def _ask(self, model: str, prompt_tokens: int, tokens: int) -> Timed:
        body = completion_body(model, self._chance, prompt_tokens, tokens)
        try:
            client = await connect(self._url)
            asked_s = time.perf_counter()
            answer = await client.ask(request_bytes(self._url, body, self._headers))
        except OSError as error:
            raise EngineFailure(f"{self._url}: {error}") from error
        ended_s = time.perf_counter()
        client.transport.close()
        if client.status != 200 or not answer.endswith(payload.DONE):
            raise EngineFailure(f"{self._url}: status {client.status}, {answer[-300:]!r}")
        return Timed(asked_s, client.first_at, ended_s)


class Calibrator:
    """Asks all engines the same at once, several times if told so; `result` is of all that was seen."""

    def __init__(self, probes: Sequence[EngineProbe], asked: Probes, slots: int, adapters: int) -> None:
        self._probes = probes
        self._asked = asked
        self._slots = slots
        self._adapters = adapters
        self._steps: dict[tuple[int, int], list[float]] = {batch: [] for batch in asked.batches}
        self._firsts: dict[int, list[float]] = {tokens: [] for tokens in asked.prompts}
        self._loads: list[float] = []

    async def run(self) -> None:
        """Everything once. Raises EngineFailure."""
        asked = self._asked
        for adapter in range(self._slots):  # the first ones into the slots
            await self._first_s(8, adapter)
        for requests, adapters in asked.batches:
            took_s = await asyncio.gather(
                *(one.step_s(requests, adapters, asked.tokens) for one in self._probes)
            )
            self._steps[requests, adapters] += took_s
        for _ in range(asked.times):
            for tokens in asked.prompts:
                self._firsts[tokens] += await self._first_s(tokens, 0)
        if self._adapters > self._slots:
            for number in range(self._adapters):
                # One after the other through all of them: each has lost its slot when its turn comes.
                self._loads += await self._first_s(asked.prompts[0], (self._slots + number) % self._adapters)

    @property
    def result(self) -> Calibration:
        """Of the runs so far, of which there must be one."""
        first_s = {tokens: statistics.median(found) for tokens, found in self._firsts.items()}
        loaded_s = statistics.median(self._loads) if self._loads else 0.0
        return Calibration(
            {batch: statistics.median(found) for batch, found in self._steps.items()},
            first_s,
            max(0.0, loaded_s - first_s[self._asked.prompts[0]]),
        )

    async def _first_s(self, prompt_tokens: int, adapter: int) -> list[float]:
        return await asyncio.gather(*(one.first_s(prompt_tokens, adapter) for one in self._probes))
