"""A closed loop on many adapters: each client draws an adapter, waits for the whole answer, draws again."""

from __future__ import annotations

import http.client
import json
import random
import statistics
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from gateway.errors import EngineFailure
from launch.bench.stream_load import percentile

WORDS = ("apple", "pear", "river", "stone", "cloud", "garden", "engine", "letter", "window", "winter")
PROMPT_WORDS = 16
TIMEOUT_S = 300.0


@dataclass(frozen=True)
class SlotsLoad:
    """What every visit asks for."""

    clients: int
    window_s: float
    """Requests begin within it; all are answered."""
    tokens: int


@dataclass(frozen=True)
class Answer:
    """Times are seconds from the start of the visit."""

    model: str
    began_s: float
    first_s: float
    ended_s: float


def zipf(count: int) -> list[float]:
    """The k-th is asked for 1/k as often as the first."""
    return [1 / rank for rank in range(1, count + 1)]


def uniform(count: int) -> list[float]:
    return [1.0] * count


LAWS = {"zipf": zipf, "uniform": uniform}


class Clients:
    """Threads with a connection each; at some 50 tokens a second they take next to nothing."""

    def __init__(self, url: str, key: str, models: Sequence[str], weights: Sequence[float]) -> None:
        self._address = urlsplit(url)
        self._headers = {"Content-Type": "application/json", "Authorization": f"Bearer {key}"}
        self._models = models
        self._weights = weights
        self._answers: list[Answer] = []
        self._faults: list[str] = []
        self._lock = threading.Lock()

    def run(self, load: SlotsLoad, seed: str, salt: str) -> list[Answer]:
        """Every answer; the same seed draws the same adapters, and no prompt is found in the engine's cache
        from a run with another salt. Raises EngineFailure where one failed.
        """
        start = time.perf_counter()
        threads = [
            threading.Thread(target=self._client, args=(load, start, random.Random(f"{seed}-{number}"), salt))
            for number in range(load.clients)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if self._faults:
            raise EngineFailure(f"{len(self._faults)} clients failed, the first: {self._faults[0]}")
        return self._answers

    def _client(self, load: SlotsLoad, start: float, chance: random.Random, salt: str) -> None:
        connection = http.client.HTTPConnection(
            self._address.hostname or "", self._address.port, timeout=TIMEOUT_S
        )
        try:
            while time.perf_counter() - start < load.window_s:
                answer = self._ask(connection, load, start, chance, salt)
                with self._lock:
                    self._answers.append(answer)
        except (OSError, http.client.HTTPException, EngineFailure) as error:
            with self._lock:
                self._faults.append(f"{type(error).__name__}: {error}")
        finally:
            connection.close()

    def _ask(
        self,
        connection: http.client.HTTPConnection,
        load: SlotsLoad,
        start: float,
        chance: random.Random,
        salt: str,
    ) -> Answer:
        """One stream. Raises EngineFailure for an answer that is not whole."""
        model = chance.choices(self._models, self._weights)[0]
        body = {
            "model": model,
            "prompt": " ".join(chance.choices(WORDS, k=PROMPT_WORDS)),
            "max_tokens": load.tokens,
            "temperature": 0,
            "ignore_eos": True,
            "stream": True,
            "cache_salt": salt,
        }
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
        return Answer(model, began - start, first - start, time.perf_counter() - start)


def figures_of(answers: Sequence[Answer], load: SlotsLoad) -> dict[str, float]:
    """Of one visit. Raises EngineFailure where nothing was answered within the window."""
    done = sum(answer.ended_s <= load.window_s for answer in answers)
    if not done:
        raise EngineFailure(f"no answer within {load.window_s:.0f} s", "make the window longer")
    waits = [(answer.first_s - answer.began_s) * 1000 for answer in answers]
    by_model = mean_waits(answers)
    return {
        "requests": float(len(answers)),
        "requests_per_s": done / load.window_s,
        "tokens_per_s": done * load.tokens / load.window_s,
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
