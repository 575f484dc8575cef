"""A real run and its simulated twin: the figures of each, and one over the other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from launch.bench.replicas.calibration import SHORT
from launch.bench.replicas.open_run import PATIENCE_S, SimulatorPlan, TwinVisit, settling
from launch.bench.results.markdown import markdown
from launch.bench.results.summary import number, spread
from launch.simulation.arrivals import Zipf
from launch.simulation.engine_speed import EngineSpeed
from launch.simulation.figures import percentile
from launch.simulation.replay.open_loop import play
from launch.simulation.request import Request

MEASURED, SIMULATED = "measured", "simulated"
WITHIN = 0.15
DRAWS = 9
SHOWN = {
    "first_token_p50_s": ("first token p50, s", 3),
    "first_token_p99_s": ("p99, s", 3),
    "goodput_per_s": ("goodput/s", 2),
    "loads": ("loads", 0),
}
AGAIN = "The same requests once more, over the first time:"
TwinFigures = dict[str, float]


def figures_of(
    requests: Sequence[Request],
    first_s: Sequence[float],
    loads: float,
    from_s: float,
    until_s: float,
    slo_s: float,
) -> TwinFigures:
    """Of the requests that came between; all were answered. Raises ValueError where none came."""
    waits = [wait_s for one, wait_s in zip(requests, first_s, strict=True) if from_s <= one.at_s < until_s]
    if not waits:
        raise ValueError("no request came after the warm-up")
    return {
        "asked_per_s": len(waits) / (until_s - from_s),
        "first_token_p50_s": percentile(waits, 0.5),
        "first_token_p99_s": percentile(waits, 0.99),
        "goodput_per_s": sum(wait_s <= slo_s for wait_s in waits) / (until_s - from_s),
        "loads": loads,
    }


def rows_of(
    visit: TwinVisit, plan: SimulatorPlan, speed: EngineSpeed, least_residency_s: float
) -> list[dict[str, object]]:
    """What was seen of one visit, and what the simulator makes of it; with every request's first token.

    The gateway draws among engines that are equally good, and what comes of a draw grows: so the simulator
    plays each visit `DRAWS` times, and the median counts; each time after the same requests once before,
    since the real gateway and its engines were in use too.
    """
    cell = {"round": visit.round, "engines": visit.engines, "load": visit.load}

    def counted(first_s: Sequence[float], loads: float) -> TwinFigures:
        return figures_of(visit.requests, first_s, loads, plan.warm_up_s, plan.window_s, plan.slo_s)

    drawn = [(one.at_s, one.adapter, one.prompt_tokens, one.output_tokens) for one in visit.requests]
    real = {**cell, "subject": MEASURED, **counted(visit.first_s, visit.loads)}
    real |= {"requests": drawn, "first_s": [round(one, 4) for one in visit.first_s]}
    played: list[TwinFigures] = []
    # With one engine nothing is drawn.
    for seed in range(DRAWS if visit.engines > 1 else 1):
        before, again = ([Request(*one) for one in drawn] for _ in range(2))
        names = Zipf(plan.adapters).names
        before += _settling(plan)
        loads = play(
            again, names, speed, visit.engines, least_residency_s=least_residency_s, seed=seed, before=before
        )
        waits = [one.first_s - one.at_s if one.first_s >= 0 else PATIENCE_S for one in again]
        played.append(counted(waits, float(loads)))
    spreads = {key: spread([one[key] for one in played]) for key in played[0]}
    twin: dict[str, object] = {**cell, "subject": SIMULATED}
    twin |= {key: found["median"] for key, found in spreads.items()}
    return [real, twin | {"spread": spreads}]


def _settling(plan: SimulatorPlan) -> list[Request]:
    """As before the real window, long after the requests before it."""
    ended_s = plan.window_s + PATIENCE_S
    return [Request(ended_s + number, each, SHORT, 2) for number, each in enumerate(settling(plan))]


def report(rows: Sequence[Mapping[str, object]]) -> str:
    """A line of Markdown for each visit: measured, simulated, and the second over the first.

    Behind it, where a window was asked for again: each later one over the first of the same requests.
    """
    heads = ["engines", "load", "asked/s", *(heading for heading, _ in SHOWN.values()), "within 15 %"]
    lines = [_line(seen, simulated) for seen, simulated in pairs_of(rows)]
    again = _beside_themselves(rows)
    if not again:
        return markdown(heads, lines)
    return "\n\n".join([markdown(heads, lines), AGAIN, markdown(heads, again)])


def _beside_themselves(rows: Sequence[Mapping[str, object]]) -> list[list[str]]:
    first: dict[tuple[object, object], Mapping[str, object]] = {}
    lines: list[list[str]] = []
    for row in rows:
        if row["subject"] != MEASURED:
            continue
        before = first.setdefault((row["engines"], row["load"]), row)
        if before is not row:
            lines.append(_line(before, row))
    return lines


def _line(seen: Mapping[str, object], other: Mapping[str, object]) -> list[str]:
    close = [abs(ratio_of(seen, other, key) - 1) <= WITHIN for key in SHOWN]
    cells = [f"{seen['engines']}", f"{seen['load']}", f"{number(seen['asked_per_s']):.2f}"]
    cells += [_cell(seen, other, key, digits) for key, (_, digits) in SHOWN.items()]
    return [*cells, f"{sum(close)} of {len(close)}"]


def pairs_of(
    rows: Sequence[Mapping[str, object]],
) -> list[tuple[Mapping[str, object], Mapping[str, object]]]:
    """Each measured visit with its twin."""
    twins = {_visit(row): row for row in rows if row["subject"] == SIMULATED}
    return [(row, twins[_visit(row)]) for row in rows if row["subject"] == MEASURED]


def ratio_of(seen: Mapping[str, object], simulated: Mapping[str, object], key: str) -> float:
    """Simulated over measured; 1 where neither is anything."""
    above, below = number(simulated[key]), number(seen[key])
    if below == 0:
        return 1.0 if above == 0 else float("inf")
    return above / below


def _visit(row: Mapping[str, object]) -> tuple[object, ...]:
    return row["round"], row["engines"], row["load"]


def _cell(seen: Mapping[str, object], simulated: Mapping[str, object], key: str, digits: int) -> str:
    values = (f"{number(row[key]):,.{digits}f}" for row in (seen, simulated))
    return f"{' → '.join(values)} ({ratio_of(seen, simulated, key):.2f})"
