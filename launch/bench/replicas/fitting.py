"""The figures of a simulated engine, from what a real one was asked for alone. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from itertools import accumulate

from launch.bench.replicas.calibration import Calibration
from launch.simulation.engine_speed import EngineSpeed


def fitted(alone: Calibration, together: Calibration | None, *, seats: int, slots: int) -> EngineSpeed:
    """`alone`: one engine of the machine; `together`: all at once, where there are several.

    Nothing of a run that the simulation is held against is in it.
    """
    each = adapter_s(alone.step_s)
    curve = curve_of(alone.step_s, each)
    slope, intercept = prompt_line(alone.first_s)
    return EngineSpeed(
        step_s=curve[0][1],
        step_s_per_request=0.0,
        step_s_per_adapter=each,
        prompt_tokens_per_s=1 / slope,
        load_s=alone.load_s,
        seats=seats,
        slots=slots,
        curve=curve,
        answer_s=max(0.0, intercept - curve[0][1] - each),
        together=1.0 if together is None else slower(alone.step_s, together.step_s),
        about="asked for by itself",
    )


def adapter_s(step_s: Mapping[tuple[int, int], float]) -> float:
    """What a step takes longer for one adapter more, by batches of one size on few and on many."""
    found = [
        (longer_s - step_s[requests, few]) / (many - few)
        for (requests, many), longer_s in step_s.items()
        for few in (one for size, one in step_s if size == requests and one < many)
    ]
    return max(0.0, statistics.fmean(found)) if found else 0.0


def curve_of(step_s: Mapping[tuple[int, int], float], each_s: float) -> tuple[tuple[int, float], ...]:
    """(requests, seconds) without the adapters' part; a larger batch is never quicker."""
    sizes = sorted({requests for requests, _ in step_s})
    means = [
        statistics.fmean(
            took_s - each_s * of for (requests, of), took_s in step_s.items() if requests == size
        )
        for size in sizes
    ]
    return tuple(zip(sizes, accumulate(means, max), strict=True))


def prompt_line(first_s: Mapping[int, float]) -> tuple[float, float]:
    """Seconds a prompt token, and those of a prompt of none, to the first token."""
    slope, intercept = statistics.linear_regression(list(first_s), list(first_s.values()))
    if slope <= 0:  # lost in the noise: prompts so short cost nothing that can be seen
        return 1e-9, statistics.fmean(first_s.values())
    return slope, intercept


def slower(alone: Mapping[tuple[int, int], float], together: Mapping[tuple[int, int], float]) -> float:
    """How many times longer a step is while the other engines of the machine are asked too."""
    return max(1.0, statistics.median(together[batch] / took_s for batch, took_s in alone.items()))
