"""How quick the engine must be for what was seen: its figures from a bench's result. Pure.

What `bench engine` saw gives them at once: a step by the gaps between tokens, prompts by the first token
alone. What `bench slots` saw of vLLM alone is searched for: the step, the prompts' speed and a load.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import replace

from gateway.errors import ConfigError
from launch.simulation.engine_speed import EngineSpeed
from launch.simulation.replay.closed_loop import replayed
from launch.simulation.replay.measured import DIRECT, EngineResult, SlotsResult, visits_of

FITTED = ("requests_per_s", "first_token_p50_s")
"""The rest is too rare in a visit of some 50 requests to fit anything by."""
REPEATS = 5
FACTORS = (2.0, 1.3, 1.1, 1.05)
"""By which each figure is tried larger and smaller, one after the other."""
MOST_ROUNDS = 20
"""At one factor."""
LEAST_LOAD_S = 0.001


def fitted(result: SlotsResult | EngineResult, start: EngineSpeed, about: str = "") -> EngineSpeed:
    """`start` with what the result says better. Raises ConfigError where it lacks the arms needed."""
    found = _by_steps(result, start) if isinstance(result, EngineResult) else _by_search(result, start)
    return replace(found, about=about)


def _by_steps(result: EngineResult, start: EngineSpeed) -> EngineSpeed:
    """Gaps are the medians, in which no other's prompt is. Of one request alone and of many on one adapter
    follows what a request adds, of many on more adapters what an adapter adds."""
    arms = result.summary.arms
    if not {"direct", "direct-single"} <= arms.keys():
        raise ConfigError("--fit", sorted(arms), "must have the arms direct and direct-single")
    gaps = {arm: figures["inter_token_p50_ms"].median / 1000 for arm, figures in arms.items()}
    many = result.load.concurrency
    each = max(0.0, (gaps["direct"] - gaps["direct-single"]) / max(1, many - 1))
    more = [
        (gaps[arm] - gaps["direct"]) / (len(result.arms[arm]) - 1)
        for arm in ("two", "four")
        if arm in gaps and len(result.arms.get(arm, ())) > 1
    ]
    adapter = max(0.0, sum(more) / len(more)) if more else start.step_s_per_adapter
    first_s = arms["direct-single"]["ttft_mean_ms"].median / 1000
    # A tenth at the least, here and of the step: where little was seen noise may leave nothing, or less.
    prompt_s = max(first_s - gaps["direct-single"], first_s / 10)
    return replace(
        start,
        step_s=max(gaps["direct-single"] - each - adapter, gaps["direct-single"] / 10),
        step_s_per_request=each,
        step_s_per_adapter=adapter,
        prompt_tokens_per_s=result.load_single.input_tokens / prompt_s,
    )


def _by_search(result: SlotsResult, start: EngineSpeed) -> EngineSpeed:
    visits = [one for one in visits_of(result) if one.arm == DIRECT]
    if not visits:
        raise ConfigError("--fit", result.settings.cells, "must have been asked straight to vLLM too")
    start = replace(start, seats=result.settings.max_num_seqs, slots=result.settings.slots)

    def speed(scales: Sequence[float]) -> EngineSpeed:
        step, prompts, load = scales
        return replace(
            start,
            step_s=start.step_s * step,
            step_s_per_request=start.step_s_per_request * step,
            step_s_per_adapter=start.step_s_per_adapter * step,
            prompt_tokens_per_s=start.prompt_tokens_per_s * prompts,
            load_s=max(start.load_s, LEAST_LOAD_S) * load,
        )

    def miss(scales: Sequence[float]) -> float:
        total = 0.0
        for visit in visits:
            figures = replayed(visit, result.settings, speed(scales), REPEATS)
            for figure in FITTED:
                # By the logarithm, so that twice as much misses by as much as half.
                total += abs(math.log(max(figures[figure], 1e-9) / max(visit.seen[figure], 1e-9)))
        return total

    return speed(least(miss, [1.0] * 3))


def least(miss: Callable[[Sequence[float]], float], start: Sequence[float]) -> list[float]:
    """Where `miss` is least, as far as steps by each of `FACTORS` lead, of one or more values at a time."""
    best, found = miss(start), list(start)
    ways = [way for way in itertools.product((0, 1, -1), repeat=len(found)) if any(way)]
    for factor in FACTORS:
        for _ in range(MOST_ROUNDS):
            before = best
            for way in ways:
                tried = [value * factor**power for value, power in zip(found, way, strict=True)]
                missed = miss(tried)
                if missed < best:
                    best, found = missed, tried
            if best == before:
                break
    return found
