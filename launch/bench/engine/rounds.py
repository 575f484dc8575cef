"""Arms, their order over the rounds, and what is made of the raw figures. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from launch.bench.engine.load import Load, Target

Figures = dict[str, float]

# vLLM's client's name → ours, with the unit.
TAKEN = {
    "output_throughput": "output_tokens_per_s",
    "mean_ttft_ms": "ttft_mean_ms",
    "p50_ttft_ms": "ttft_p50_ms",
    "p99_ttft_ms": "ttft_p99_ms",
    "mean_itl_ms": "inter_token_mean_ms",
    "p50_itl_ms": "inter_token_p50_ms",
    "p99_itl_ms": "inter_token_p99_ms",
    "mean_e2el_ms": "request_mean_ms",
    "duration": "duration_s",
}


@dataclass(frozen=True)
class Arm:
    """One way of asking, visited once a round."""

    name: str
    target: Target
    load: Load


@dataclass(frozen=True)
class ArmRun:
    """One arm in one round; `position` is its place in that round's order."""

    round: int
    position: int
    arm: str
    figures: Figures


@dataclass(frozen=True)
class Spread:
    """Of one figure over the rounds."""

    median: float
    lowest: float
    highest: float
    rounds: int


@dataclass(frozen=True)
class Comparison:
    """A ratio that is formed within each round, so that a machine's drift falls out of it."""

    name: str
    above: str
    below: str
    figure: str = "output_tokens_per_s"


def arms_of(
    engine_url: str,
    gateway_url: str,
    base: str,
    adapters: Mapping[str, str],
    first_task: str,
    load: Load,
    single: Load | None,
) -> list[Arm]:
    """Gateway and direct on one task; four and two adapters mixed; base alone; one request at a time.

    `direct` is also the mix of one, and stands between those that are held against it, so that little time
    lies between them. A mix that needs more adapters than there are is left out, as are the last where
    `single` is None.
    """
    ids = [adapters[first_task], *(one for task, one in adapters.items() if task != first_task)]
    direct, routed = Target(engine_url, (ids[0],)), Target(gateway_url, (first_task,))
    alone = Target(engine_url, (base,))
    arms = [Arm("gateway", routed, load), Arm("direct", direct, load)]
    for name, count in (("four", 4), ("two", 2)):
        if len(ids) >= count:
            arms.append(Arm(name, Target(engine_url, tuple(ids[:count])), load))
    arms.append(Arm("base", alone, load))
    if single is not None:
        arms += [
            Arm("base-single", alone, single),
            Arm("direct-single", direct, single),
            Arm("gateway-single", routed, single),
        ]
    return arms


def in_order(arms: Sequence[Arm], round_number: int) -> list[Arm]:
    """Forwards and backwards in turn: each arm of a pair is first in every other round."""
    return list(arms) if round_number % 2 == 0 else list(reversed(arms))


def figures_of(result: Mapping[str, object]) -> Figures:
    """The client's figures under our names; raises KeyError where it gave none of that name."""
    return {ours: float(str(result[theirs])) for theirs, ours in TAKEN.items()}


def spread(values: Sequence[float]) -> Spread:
    return Spread(statistics.median(values), min(values), max(values), len(values))


def by_arm(runs: Sequence[ArmRun]) -> dict[str, dict[str, Spread]]:
    """Every figure of every arm."""
    return {
        arm: {name: spread([run.figures[name] for run in of_arm]) for name in of_arm[0].figures}
        for arm in dict.fromkeys(run.arm for run in runs)
        if (of_arm := [run for run in runs if run.arm == arm])
    }


def comparisons(arms: Sequence[Arm]) -> list[Comparison]:
    """Those whose both arms ran."""
    names = {arm.name for arm in arms}
    wanted = [
        Comparison("gateway / direct, tokens per second", "gateway", "direct"),
        Comparison("gateway / direct, time to first token", "gateway", "direct", "ttft_p50_ms"),
        Comparison("gateway / direct, one at a time, tokens per second", "gateway-single", "direct-single"),
        Comparison(
            "gateway / direct, one at a time, first token", "gateway-single", "direct-single", "ttft_p50_ms"
        ),
        Comparison("one adapter / base, tokens per second", "direct", "base"),
        Comparison("one adapter / base, one at a time, tokens per second", "direct-single", "base-single"),
        Comparison("two adapters mixed / one, tokens per second", "two", "direct"),
        Comparison("four adapters mixed / one, tokens per second", "four", "direct"),
    ]
    return [one for one in wanted if one.above in names and one.below in names]


def ratios(runs: Sequence[ArmRun], wanted: Sequence[Comparison]) -> dict[str, Spread]:
    """Each comparison over the rounds."""
    known = {(run.round, run.arm): run.figures for run in runs}
    rounds = sorted({run.round for run in runs})
    return {
        one.name: spread([known[n, one.above][one.figure] / known[n, one.below][one.figure] for n in rounds])
        for one in wanted
    }


def summary(runs: Sequence[ArmRun], wanted: Sequence[Comparison]) -> dict[str, object]:
    """What the result file keeps: the figures of each arm, and the ratios of the wanted comparisons."""
    return {
        "arms": {
            arm: {name: asdict(one) for name, one in found.items()} for arm, found in by_arm(runs).items()
        },
        "ratios": {name: asdict(one) for name, one in ratios(runs, wanted).items()},
    }
