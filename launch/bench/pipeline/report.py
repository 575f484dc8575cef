"""What `bench pipeline` makes of its raw runs. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from rich.table import Table

from launch.bench.engine.report import shown_spread
from launch.bench.engine.rounds import Spread, spread
from launch.bench.pipeline.by_hand import Timing
from launch.bench.pipeline.prefix_cache import PrefixCache
from launch.bench.results.tables import plain_table

TARGET = 1.05  # of the lower bound
ARMS = ("gateway", "behind", "sequential", "fan-out")
"""Through the gateway as it is, and with calls of each element that the engine schedules behind the first
stage; then by hand.
"""


@dataclass(frozen=True)
class PipelineRun:
    """One way of asking, once. Of the gateway's run `last_s` is the time after the first stage's end."""

    round: int
    wanted: int
    arm: str
    timing: Timing
    cache: PrefixCache
    """What the engine looked for in its prefix cache meanwhile."""


@dataclass(frozen=True)
class Round:
    """All ways on one input in one round, as `ARMS` has them."""

    gateway: Timing
    behind: Timing
    sequential: Timing
    fan_out: Timing

    @property
    def alone_s(self) -> float:
        """The first stage alone on the engine: both runs by hand have it so, and their mean is quieter."""
        return (self.sequential.first_s + self.fan_out.first_s) / 2

    @property
    def bound_s(self) -> float:
        """No order of calls ends sooner: the first stage alone, then the last element's call alone."""
        return self.alone_s + self.sequential.last_s

    @property
    def length_ratio(self) -> float:
        """Tokens of the first stage: another batch rounds otherwise, and a greedy answer may differ."""
        return 2 * self.gateway.first_tokens / (self.sequential.first_tokens + self.fan_out.first_tokens)

    @property
    def bound_at_length_s(self) -> float:
        """The bound for an answer of the gateway's length."""
        return self.alone_s * self.length_ratio + self.sequential.last_s


def rounds_of(runs: Sequence[PipelineRun], wanted: int) -> list[Round]:
    """Those of one number of concepts."""
    known = {(run.round, run.arm): run.timing for run in runs if run.wanted == wanted}
    numbers = sorted({number for number, _ in known})
    return [Round(*(known[n, arm] for arm in ARMS)) for n in numbers]


def found_in_cache(runs: Sequence[PipelineRun], wanted: int) -> PrefixCache:
    """What the gateway's own calls found from the second round on, when what is common to all is there."""
    later = [run.cache for run in runs if (run.wanted, run.arm) == (wanted, "gateway") and run.round]
    return PrefixCache(sum(one.queries for one in later), sum(one.hits for one in later))


def figures_of(rounds: Sequence[Round]) -> dict[str, Spread]:
    """Times in seconds, and ratios that are formed within each round.

    Time beyond the bound went into a first stage that is slower where it shares its batch (`first / alone`),
    into another length of its answer (`first_tokens / alone`), or into what came after it.
    """
    return {
        "gateway_s": spread([one.gateway.total_s for one in rounds]),
        "sequential_s": spread([one.sequential.total_s for one in rounds]),
        "fan_out_s": spread([one.fan_out.total_s for one in rounds]),
        "bound_s": spread([one.bound_s for one in rounds]),
        "gateway / bound": spread([one.gateway.total_s / one.bound_s for one in rounds]),
        "gateway / bound at its length": spread(
            [one.gateway.total_s / one.bound_at_length_s for one in rounds]
        ),
        "gateway / sequential": spread([one.gateway.total_s / one.sequential.total_s for one in rounds]),
        "gateway / fan-out": spread([one.gateway.total_s / one.fan_out.total_s for one in rounds]),
        "behind / gateway": spread([one.behind.total_s / one.gateway.total_s for one in rounds]),
        "first / alone": spread([one.gateway.first_s / one.alone_s for one in rounds]),
        "first_tokens / alone": spread([one.length_ratio for one in rounds]),
        "after_first_s": spread([one.gateway.last_s for one in rounds]),
    }


def summary(runs: Sequence[PipelineRun]) -> dict[str, object]:
    """For the result file, by the number of concepts."""
    found: dict[str, object] = {}
    for wanted in dict.fromkeys(run.wanted for run in runs):
        rounds = rounds_of(runs, wanted)
        figures, cache = figures_of(rounds), found_in_cache(runs, wanted)
        found[str(wanted)] = {
            "concepts_that_came": sorted({run.timing.elements for run in runs if run.wanted == wanted}),
            "within_target": figures["gateway / bound"].median <= TARGET,
            "prefix_cache": {**asdict(cache), "hit_rate": cache.hit_rate},
            "figures": {name: asdict(one) for name, one in figures.items()},
        }
    return found


def table_of(runs: Sequence[PipelineRun]) -> Table:
    """One row a number of concepts: medians, and the range of the ratio that the target is for."""
    times = {"gateway_s": "gateway", "sequential_s": "sequential", "fan_out_s": "fan-out", "bound_s": "bound"}
    others = ("gateway / sequential", "gateway / fan-out", "behind / gateway", "first / alone")
    figures = ("concepts", *times.values(), "gateway / bound", *others, "prompt found")
    table = plain_table("Wall time in seconds, medians; ratios formed within a round", [], figures)
    for wanted in dict.fromkeys(run.wanted for run in runs):
        found = figures_of(rounds_of(runs, wanted))
        table.add_row(
            str(wanted),
            *(f"{found[name].median:.2f}" for name in times),
            shown_spread(found["gateway / bound"], 2),
            *(f"{found[name].median:.2f}" for name in others),
            f"{found_in_cache(runs, wanted).hit_rate:.2f}",
        )
    return table
