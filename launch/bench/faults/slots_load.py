"""A closed loop on many adapters: each client draws an adapter, waits for the whole answer, draws again."""

from __future__ import annotations

import http.client
import json
import random
import statistics
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from gateway.errors import EngineFailure
from launch.bench.overhead.payload import asked_for
from launch.simulation.figures import percentile

WORDS = ("apple", "pear", "river", "stone", "cloud", "garden", "engine", "letter", "window", "winter")
PROMPT_WORDS = 16
TIMEOUT_S = 300.0


@dataclass(frozen=True)
class SlotsLoad:
    """What every visit asks for."""

    clients: int
    window_s: float
    """Requests begin within it; all are answered."""
    least_tokens: int
    most_tokens: int


@dataclass(frozen=True)
class Answer:
    """Times are seconds from the start of the visit."""

    model: str
    tokens: int
    began_s: float
    first_s: float
    ended_s: float


Draw = Callable[[random.Random, int], int]
"""Chance and a client's number → the place of the adapter that it asks next."""


def zipf(adapters: int) -> Draw:
    """The k-th is asked for 1/k as often as the first."""
    weights = [1 / rank for rank in range(1, adapters + 1)]
    return lambda chance, _client: chance.choices(range(adapters), weights)[0]


def uniform(adapters: int) -> Draw:
    return lambda chance, _client: chance.randrange(adapters)


def own(adapters: int) -> Draw:
    """Each client keeps to one adapter, as tenants do."""
    return lambda _chance, client: client % adapters


LAWS: dict[str, Callable[[int], Draw]] = {"zipf": zipf, "uniform": uniform, "own": own}


class SlotClients:
    """Threads with a connection each; at some 50 tokens a second they take next to nothing."""

    def __init__(self, url: str, key: str, models: Sequence[str], draw: Draw) -> None:
        self._host = urlsplit(url).netloc
        self._headers = {"Content-Type": "application/json", "Authorization": f"Bearer {key}"}
        self._models = models
        self._draw = draw
        self._answers: list[Answer] = []
        self._faults: list[str] = []
        self._lock = threading.Lock()

    def run(self, load: SlotsLoad, seed: str, salt: str) -> list[Answer]:
        """Every answer; the same seed draws the same adapters, and no prompt is found in the engine's cache
        from a run with another salt. Raises EngineFailure where one failed.
        """
        start = time.perf_counter()
        threads = [
            threading.Thread(target=self._client, args=(number, load, start, seed, salt))
            for number in range(load.clients)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if self._faults:
            raise EngineFailure(f"{len(self._faults)} clients failed, the first: {self._faults[0]}")
        return self._answers

    def _client(self, number: int, load: SlotsLoad, start: float, seed: str, salt: str) -> None:
        chance = random.Random(f"{seed}-{number}")
        connection = http.client.HTTPConnection(self._host, timeout=TIMEOUT_S)
        try:
            while True:  # once at least, however late the thread was
                model = self._models[self._draw(chance, number)]
                tokens = chance.randint(load.least_tokens, load.most_tokens)
                prompt = " ".join(chance.choices(WORDS, k=PROMPT_WORDS))
                answer = self._ask(connection, model, prompt, tokens, start, salt)
                with self._lock:
                    self._answers.append(answer)
                if answer.ended_s >= load.window_s:
                    return
        except (OSError, http.client.HTTPException, EngineFailure) as error:
            with self._lock:
                self._faults.append(f"{type(error).__name__}: {error}")
        finally:
            connection.close()

    def _ask(
        self,
        connection: http.client.HTTPConnection,
        model: str,
        prompt: str,
        tokens: int,
        start: float,
        salt: str,
    ) -> Answer:
        """One stream. Raises EngineFailure for an answer that is not whole."""
        body = asked_for(model, prompt, tokens, stream=True, cache_salt=salt)
        began = time.perf_counter()
        connection.request("POST", "/v1/completions", json.dumps(body), self._headers)
        response = connection.getresponse()
        if response.status != 200:
            raise EngineFailure(f"{model}: {response.status} {response.read(300)!r}")
        first = 0.0
        last = b""
        for line in response:
            if line.startswith(b"data: "):
                first = first or time.perf_counter()
                last = line
        response.read()  # nothing is left, but only this frees the connection for the next request
        if last.strip() != b"data: [DONE]":
            raise EngineFailure(f"{model}: a stream without its end: {last[:300]!r}")
        return Answer(model, tokens, began - start, first - start, time.perf_counter() - start)


def figures_of(answers: Sequence[Answer], load: SlotsLoad) -> dict[str, float]:
    """Of one visit. Raises EngineFailure where nothing was answered within the window."""
    done = [answer for answer in answers if answer.ended_s <= load.window_s]
    if not done:
        raise EngineFailure(f"no answer within {load.window_s:.0f} s", "make the window longer")
    waits = [(answer.first_s - answer.began_s) * 1000 for answer in answers]
    by_model = mean_waits(answers)
    return {
        "requests": float(len(answers)),
        "requests_per_s": len(done) / load.window_s,
        "tokens_per_s": sum(answer.tokens for answer in done) / load.window_s,
        "ttft_p50_ms": percentile(waits, 0.5),
        "ttft_p99_ms": percentile(waits, 0.99),
        "longest_wait_ms": max(waits),
        "fairness": jain([*by_model.values()]),
        "slowest_adapter_mean_ms": max(by_model.values()),
        "adapters_asked": float(len(by_model)),
    }


def mean_waits(answers: Sequence[Answer]) -> Mapping[str, float]:
    """Adapter → mean time to the first token, in milliseconds."""
    waits: dict[str, list[float]] = {}
    for answer in answers:
        waits.setdefault(answer.model, []).append((answer.first_s - answer.began_s) * 1000)
    return {model: statistics.fmean(found) for model, found in waits.items()}


def jain(values: Sequence[float]) -> float:
    """Jain's index: 1 where all are equal, 1/n where one has everything."""
    squares = sum(value * value for value in values)
    return sum(values) ** 2 / (len(values) * squares) if squares else 1.0
