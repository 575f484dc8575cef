"""The figures of a simulated engine, from what a real one was asked for alone. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from itertools import accumulate, combinations

from launch.bench.replicas.calibration import Calibration, Prompted
from launch.simulation.engine_speed import EngineSpeed

JOINED_STEPS = 1.5
"""What one that comes while another runs waits for: on average half a step, and then its own."""
LEAST_SLOPE_S = 1e-9
"""A prompt token where prompts so short cost nothing that can be seen."""


def fitted(alone: Calibration, beside: Calibration | None, *, seats: int, slots: int) -> EngineSpeed:
    """`alone`: the only engine at work; `beside`: the same while another of its machine works too.

    Nothing of a run that the simulation is held against is in it.
    """
    each = adapter_s(alone.step_s)
    curve = curve_of(alone.step_s, each)
    slope = slope_of(alone.alone)
    answer_s = max(0.0, beyond(alone.joined, slope, JOINED_STEPS))
    first_s = beyond(alone.alone, slope, 1.0)
    return EngineSpeed(
        step_s=curve[0][1],
        step_s_per_request=0.0,
        step_s_per_adapter=each,
        prompt_tokens_per_s=1 / slope,
        load_s=max(0.0, beyond(alone.loaded, slope, 1.0) - first_s) if alone.loaded else 0.0,
        seats=seats,
        slots=slots,
        curve=curve,
        answer_s=answer_s,
        wake_s=max(0.0, first_s - answer_s),
        pack_s_per_adapter=max(0.0, pack_s(alone.packed)),
        together=1.0 if beside is None else slower(alone, beside),
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


def slope_of(seen: Sequence[Prompted]) -> float:
    """Seconds a prompt token.

    The median of the slopes between any two (Theil and Sen): one that was held up by something else moves
    it little.
    """
    slopes = [
        (more.first_s - fewer.first_s) / (more.prompt_tokens - fewer.prompt_tokens)
        for fewer, more in combinations(sorted(seen), 2)
        if more.prompt_tokens > fewer.prompt_tokens
    ]
    return max(statistics.median(slopes), LEAST_SLOPE_S) if slopes else LEAST_SLOPE_S


def beyond(seen: Sequence[Prompted], slope: float, steps: float) -> float:
    """What first tokens take beside their prompts and so many steps."""
    return statistics.median(one.first_s - slope * one.prompt_tokens - steps * one.step_s for one in seen)


def pack_s(packed: Sequence[tuple[int, float]]) -> float:
    """What products that adapters share take to be made, for each of these."""
    return statistics.median(took_s / adapters for adapters, took_s in packed) if packed else 0.0


def slower(alone: Calibration, beside: Calibration) -> float:
    """How many times longer an engine takes while another one works, of steps and of middling prompts."""
    took_s = [0.0, 0.0]
    for place, of in enumerate((alone, beside)):
        took_s[place] = sum(of.step_s.values())
        for seen, asked in ((of.alone, alone.alone), (of.joined, alone.joined)):
            slope, tokens = slope_of(seen), statistics.fmean(one.prompt_tokens for one in asked)
            took_s[place] += slope * tokens + beyond(seen, slope, 0.0)
    return max(1.0, took_s[1] / took_s[0])
