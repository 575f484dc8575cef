"""What `bench engine` shows on the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.table import Table

from launch.bench.engine.rounds import ArmRun, Comparison, Spread, by_arm, ratios
from launch.bench.results.tables import plain_table
from launch.machine.memory import MIB

SHOWN = {
    "output_tokens_per_s": "tokens/s",
    "ttft_mean_ms": "first token, mean ms",
    "ttft_p50_ms": "p50 ms",
    "ttft_p99_ms": "p99 ms",
    "inter_token_p50_ms": "between tokens, p50 ms",
    "inter_token_p99_ms": "p99 ms",
}


def arms_table(runs: Sequence[ArmRun]) -> Table:
    """One row an arm: the median over the rounds, lowest and highest beside the tokens per second."""
    table = plain_table("Medians over the rounds", ["arm"], SHOWN.values())
    for arm, figures in by_arm(runs).items():
        speed, *others = (figures[name] for name in SHOWN)
        table.add_row(arm, shown_spread(speed, 1), *(f"{one.median:.1f}" for one in others))
    return table


def ratios_table(runs: Sequence[ArmRun], wanted: Sequence[Comparison]) -> Table:
    """One row for each comparison: the median of its ratios, with lowest and highest."""
    figures = ["median (lowest to highest)"]
    table = plain_table("Ratios, each formed within its round", ["ratio"], figures)
    for name, one in ratios(runs, wanted).items():
        table.add_row(name, shown_spread(one, 3))
    return table


def starts_table(starts: Sequence[Mapping[str, object]]) -> Table:
    """One row a start of the engine."""
    figures = ["adapters", "load s", "processes", "Pss MiB", "resident MiB"]
    table = plain_table("Starts of the engine, memory of its processes when ready", [], figures)
    for one in starts:
        sizes = [f"{int(str(one[name])) / MIB:.0f}" for name in ("pss_bytes", "rss_bytes")]
        table.add_row(str(one["adapters"]), str(one["load_s"]), str(one["processes"]), *sizes)
    return table


def shown_spread(one: Spread, digits: int) -> str:
    return f"{one.median:.{digits}f} ({one.lowest:.{digits}f} to {one.highest:.{digits}f})"
