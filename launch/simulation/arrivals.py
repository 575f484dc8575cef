"""When requests come, for which adapters, and how long they are: at random, in bursts, as recorded."""

from __future__ import annotations

import csv
import random
from bisect import bisect
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib import resources
from itertools import accumulate, pairwise

from gateway.errors import ConfigError
from launch.simulation.request import Request

BURST_FACTOR = 4.0
"""How much more comes in a burst than on average; between bursts it is less, so that the mean is kept."""
BURST_SHARE = 0.15  # of the time
BURST_MEAN_S = 20.0
TRACE = "azure_2023_conversation.csv"
"""Of Azure's LLM inference trace 2023, CC-BY-4.0: 2,000 conversations' requests, their times and tokens."""


class Zipf:
    """The k-th of `adapters` is asked for 1/k^exponent as often as the first."""

    def __init__(self, adapters: int, exponent: float = 1.0) -> None:
        self.names = [f"task-{number:05d}" for number in range(1, adapters + 1)]
        self._sums = list(accumulate(1 / rank**exponent for rank in range(1, adapters + 1)))

    def draw(self, chance: random.Random) -> str:
        """The name of one adapter, drawn by its share of the requests."""
        # Rounding may put the draw on the sum itself, behind the last name.
        return self.names[min(bisect(self._sums, chance.random() * self._sums[-1]), len(self.names) - 1)]


@dataclass(frozen=True, slots=True)
class OfferedLoad:
    """How requests come: by which law, how many a second, how long."""

    pattern: str
    requests_per_s: float
    duration_s: float
    prompt_tokens: int
    output_tokens: int
    """On average; lengths are drawn by an exponential law, and at least 1. A recorded load has its own."""


def requests_of(load: OfferedLoad, popularity: Zipf, seed: int) -> list[Request]:
    """Everything that comes, in order; the same for one seed. Raises ConfigError for an unknown pattern."""
    if load.pattern not in PATTERNS:
        raise ConfigError("--arrivals", load.pattern, f"must be one of {', '.join(PATTERNS)}")
    # Two sources, so that the k-th request is for the same adapter whatever law its time is drawn by.
    chance, adapters = random.Random(f"arrivals-{seed}"), random.Random(f"adapters-{seed}")
    return [
        Request(at_s, popularity.draw(adapters), prompt, output)
        for at_s, prompt, output in PATTERNS[load.pattern](load, chance)
    ]


Arrival = tuple[float, int, int]


def _poisson(load: OfferedLoad, chance: random.Random) -> Iterator[Arrival]:
    at_s = chance.expovariate(load.requests_per_s)
    while at_s < load.duration_s:
        yield at_s, *_lengths(load, chance)
        at_s += chance.expovariate(load.requests_per_s)


def _bursty(load: OfferedLoad, chance: random.Random) -> Iterator[Arrival]:
    """A Poisson process that switches between two rates at random (Markov-modulated)."""
    # What is left for the rest of the time, so that the mean over both is the rate asked for.
    calm = (1 - BURST_FACTOR * BURST_SHARE) / (1 - BURST_SHARE)
    calm_s = BURST_MEAN_S * (1 - BURST_SHARE) / BURST_SHARE
    at_s = begins_s = 0.0
    burst = False
    while begins_s < load.duration_s:
        ends_s = min(load.duration_s, begins_s + chance.expovariate(1 / (BURST_MEAN_S if burst else calm_s)))
        rate = load.requests_per_s * (BURST_FACTOR if burst else calm)
        # Drawn anew at each change of the rate: a Poisson process does not know how long it has waited.
        at_s = begins_s + chance.expovariate(rate)
        while at_s < ends_s:
            yield at_s, *_lengths(load, chance)
            at_s += chance.expovariate(rate)
        begins_s, burst = ends_s, not burst


def _recorded(load: OfferedLoad, chance: random.Random) -> Iterator[Arrival]:
    """The trace's gaps and lengths, over and over, faster or slower so that the rate is the one asked for."""
    rows = recorded_rows()
    mean_s = sum(gap_s for gap_s, _, _ in rows) / len(rows)
    at_s, place = 0.0, chance.randrange(len(rows))
    while True:
        gap_s, prompt, output = rows[place % len(rows)]
        at_s += gap_s / (mean_s * load.requests_per_s)
        if at_s >= load.duration_s:
            return
        yield at_s, prompt, output
        place += 1


def recorded_rows() -> Sequence[tuple[float, int, int]]:
    """(seconds since the one before, prompt tokens, output tokens) of each request of the sample."""
    with resources.files("launch.simulation").joinpath(TRACE).open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    at = [int(row["at_ms"]) / 1000 for row in rows]
    gaps = [after - before for before, after in pairwise(at)]
    return [
        (gap_s, int(row["prompt_tokens"]), max(1, int(row["output_tokens"])))
        for gap_s, row in zip(gaps, rows[1:], strict=True)
    ]


def _lengths(load: OfferedLoad, chance: random.Random) -> tuple[int, int]:
    return (
        1 + int(chance.expovariate(1 / load.prompt_tokens)),
        1 + int(chance.expovariate(1 / load.output_tokens)),
    )


PATTERNS: dict[str, Callable[[OfferedLoad, random.Random], Iterator[Arrival]]] = {
    "poisson": _poisson,
    "bursty": _bursty,
    "recorded": _recorded,
}
