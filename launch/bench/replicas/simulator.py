"""`bench simulator`: the simulator held against one real engine and two.

The engines are first asked for their speed alone, which the simulated ones then have. Then requests come
through the gateway by Poisson's law, for adapters by Zipf's, more of these than slots, and the simulator
plays the same requests at the same times.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated

import typer
import uvloop

from gateway.config.document import Config
from launch.bench.engine.config import KEY, load_given
from launch.bench.engine.stack import running_stack
from launch.bench.faults.slots import MOST_SEQUENCES
from launch.bench.programs.places import RESULTS
from launch.bench.replicas.calibration import Calibration, Calibrator, EngineProbe, Probes
from launch.bench.replicas.fitting import fitted
from launch.bench.replicas.narrow import narrow_gateway
from launch.bench.replicas.open_run import SimulatorPlan, TwinVisit, asked, capacity_per_s, seen
from launch.bench.replicas.replicas import with_engines
from launch.bench.replicas.twin import report, rows_of
from launch.bench.results.record import DEMO, ConfigOption, Document, OutputOption, console, recorded
from launch.bench.results.turns import in_order

SLOTS = 4
ENGINES = (1, 2)


def simulator_command(
    config: ConfigOption = DEMO,
    rounds: Annotated[int, typer.Option(min=1, help="windows of each load; each stands by itself")] = 1,
    window_s: Annotated[float, typer.Option(min=5, help="in which requests come")] = 28.0,
    adapters: Annotated[int, typer.Option(min=5, help="on four slots")] = 6,
    slo_s: Annotated[float, typer.Option(min=0, help="a first token within it is good")] = 1.0,
    quick: Annotated[bool, typer.Option("--quick", help="a smoke run: one load, ten seconds each")] = False,
    output: OutputOption = RESULTS,
) -> None:
    """First tokens, goodput and loads of one real engine and two, beside the simulator's of the same."""
    plan = SimulatorPlan(adapters=adapters, window_s=window_s, slo_s=slo_s, rounds=rounds)
    if quick:
        probes = Probes(batches=((1, 1), (4, 1), (4, 4), (16, 4)), tokens=8, times=1)
        plan = replace(plan, loads=(0.5,), window_s=10.0, capacity_s=4.0, warm_up_s=1.0, probes=probes)

    def measured(scratch: Path) -> Document:
        return measure(load_given(config, dummy=True, placeholder=scratch / "unset"), scratch, plan)

    recorded(output, "simulator", measured, quick=quick)


def measure(given: Config, scratch: Path, plan: SimulatorPlan) -> Document:
    """Everything, as a document. Raises ConfigError and EngineFailure."""
    config = with_engines(given, scratch / "two", max(ENGINES), SLOTS, plan.adapters)
    with ExitStack() as held:
        two = held.enter_context(running_stack(config, scratch / "two", KEY))
        one = held.enter_context(narrow_gateway(config, two, scratch / "one", KEY))
        stacks = {1: one, 2: two}
        ids = list(two.adapters.values())
        speeds = {
            engines: Calibrator(
                [EngineProbe(url, KEY, ids, f"{engines}-{url}") for url in stack.engine_urls],
                plan.probes,
                SLOTS,
                plan.adapters,
            )
            for engines, stack in stacks.items()
        }
        _calibrate(speeds)
        capacity = {engines: capacity_per_s(stack, plan, engines) for engines, stack in stacks.items()}
        said = ", ".join(f"{engines}: {rate:.1f}/s" for engines, rate in capacity.items())
        console().print(f"answered where clients wait for one another, by engines: {said}", highlight=False)
        visits: list[TwinVisit] = []
        for turn in range(plan.rounds):
            for load, engines in in_order(plan.loads, ENGINES, turn):
                requests = asked(plan, load * capacity[engines], f"{turn}-{engines}-{load}")
                visit = TwinVisit(turn, engines, load, requests, *seen(stacks[engines], plan, requests))
                visits.append(visit)
                said = f"{len(requests)} requests, {visit.loads:.0f} loads"
                console().print(f"round {turn + 1}: {engines} engines at {load:g}: {said}", highlight=False)
        _calibrate(speeds)  # once more, for what the machine has drifted meanwhile
        alone, together = speeds[1].result, speeds[2].result
    speed = fitted(alone, together, seats=MOST_SEQUENCES, slots=SLOTS)
    least_s = config.gateway.least_residency_s
    rows = [row for visit in visits for row in rows_of(visit, plan, speed, least_s)]
    print(report(rows))
    return {
        "settings": {**asdict(plan), "slots": SLOTS, "seats": MOST_SEQUENCES},
        "speed": asdict(speed),
        "calibration": {"alone": told(alone), "together": told(together)},
        "capacity_per_s": capacity,
        "rounds": rows,
    }


def _calibrate(speeds: Mapping[int, Calibrator]) -> None:
    for engines, calibrator in speeds.items():
        began = time.monotonic()
        uvloop.run(calibrator.run())
        steps = ", ".join(
            f"{size}x{of} {took_s * 1000:.0f}" for (size, of), took_s in calibrator.result.step_s.items()
        )
        console().print(
            f"{engines} engines asked for their speed in {time.monotonic() - began:.0f} s; "
            f"steps by requests x adapters, ms: {steps}",
            highlight=False,
        )


def told(found: Calibration) -> dict[str, object]:
    """As it stands in the results."""
    steps = {f"{size} requests, {of} adapters": took_s for (size, of), took_s in found.step_s.items()}
    return {"step_s": steps, "first_s": found.first_s, "load_s": found.load_s}
