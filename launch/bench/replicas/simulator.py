"""`bench simulator`: the simulator held against one real engine and two.

The engines are first asked for their speed alone, which the simulated ones then have. Then requests come
through the gateway by Poisson's law, for adapters by Zipf's, more of these than slots, and the simulator
plays the same requests at the same times.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated

import typer
import uvloop

from gateway.config.document import Config
from launch.base.progress import said_on_stderr
from launch.base.steps import Steps
from launch.bench.engine.config import KEY, load_given
from launch.bench.engine.stack import Running, running_stack
from launch.bench.faults.slots import MOST_SEQUENCES
from launch.bench.programs.places import RESULTS
from launch.bench.replicas.calibration import Calibrator, EngineProbe, Probes
from launch.bench.replicas.fitting import fitted
from launch.bench.replicas.narrow import narrow_gateway
from launch.bench.replicas.open_run import SimulatorPlan, TwinVisit, asked, capacity_per_s, seen
from launch.bench.replicas.recorded_run import calibration_of, read_recorded, told
from launch.bench.replicas.replicas import with_engines
from launch.bench.replicas.twin import report, rows_of
from launch.bench.results.record import ConfigOption, JsonOption, OutputOption, print_json, recorded, visits
from launch.planning.found_config import CHECKOUT
from launch.simulation.engine_speed import EngineSpeed

SLOTS = 4
ENGINES = (1, 2)
BESIDE = 2
"""Requests that keep the other engine at work while one is asked for its speed."""
ALONE_SAID, BESIDE_SAID = "alone", "beside another at work"


def simulator_command(
    config: ConfigOption = CHECKOUT,
    rounds: Annotated[int, typer.Option(min=1, help="windows of each load, with the same requests")] = 1,
    window_s: Annotated[float, typer.Option(min=5, help="in which requests come")] = 28.0,
    adapters: Annotated[int, typer.Option(min=5, help="on four slots")] = 6,
    slo_s: Annotated[float, typer.Option(min=0, help="a first token within it is good")] = 1.0,
    quick: Annotated[bool, typer.Option("--quick", help="a smoke run: one load, ten seconds each")] = False,
    again: Annotated[
        Path | None,
        typer.Option(help="a result of this: played anew by the simulator of now, without engines"),
    ] = None,
    output: OutputOption = RESULTS,
    as_json: JsonOption = False,
) -> None:
    """First tokens, goodput and loads of one real engine and two, beside the simulator's of the same."""
    if again is not None:
        rows = played_again(again)
        with said_on_stderr(as_json):
            print(report(rows))
        print_json({"rounds": rows}, as_json)
        return
    plan = SimulatorPlan(adapters=adapters, window_s=window_s, slo_s=slo_s, rounds=rounds)
    if quick:
        probes = Probes(batches=((1, 1), (4, 1), (4, 4), (16, 4)), tokens=8, prompts=4)
        plan = replace(plan, loads=(0.5,), window_s=10.0, capacity_s=4.0, warm_up_s=1.0, probes=probes)

    def measured(scratch: Path) -> dict[str, object]:
        return measure(load_given(config, dummy=True, placeholder=scratch / "unset"), scratch, plan)

    recorded(output, "simulator", measured, quick=quick, as_json=as_json)


def measure(given: Config, scratch: Path, plan: SimulatorPlan) -> dict[str, object]:
    """Everything, as a document. Raises ConfigError and EngineFailure."""
    config = with_engines(given, scratch / "two", max(ENGINES), SLOTS, plan.adapters)
    with ExitStack() as held:
        two = held.enter_context(running_stack(config, scratch / "two", KEY))
        one = held.enter_context(narrow_gateway(config, two, scratch / "one", KEY))
        stacks = {1: one, 2: two}
        ids, tasks = list(two.adapters.values()), list(one.adapters)
        other = EngineProbe(two.engine_urls[1], KEY, ids, "other")
        calibrators = {
            said: Calibrator(
                EngineProbe(one.gateway_url, KEY, tasks, said), plan.probes, SLOTS, plan.adapters, said
            )
            for said in (ALONE_SAID, BESIDE_SAID)
        }
        windows = len(stacks) * (1 + plan.rounds * len(plan.loads))
        steps = held.enter_context(visits(2 * len(calibrators) + windows))
        uvloop.run(_calibrate(calibrators, other, plan, steps))
        capacity, seen_visits = _visited(stacks, plan, steps)
        # Once more, for what the machine has drifted meanwhile.
        uvloop.run(_calibrate(calibrators, other, plan, steps))
        alone, beside = (one.result for one in calibrators.values())
    speed = fitted(alone, beside, seats=MOST_SEQUENCES, slots=SLOTS)
    least_s = config.gateway.least_residency_s
    rows = twins_of(seen_visits, plan, speed, least_s)
    print(report(rows))
    own = {"slots": SLOTS, "seats": MOST_SEQUENCES, "least_residency_s": least_s}
    return {
        "settings": {**asdict(plan), **own},
        "speed": asdict(speed),
        "calibration": {said: told(one.result) for said, one in calibrators.items()},
        "capacity_per_s": capacity,
        "rounds": rows,
    }


def _visited(
    stacks: Mapping[int, Running], plan: SimulatorPlan, steps: Steps
) -> tuple[dict[int, float], list[TwinVisit]]:
    """By number of engines: answers a second at the most; and every window that was asked in."""
    found: list[TwinVisit] = []
    capacity: dict[int, float] = {}
    for engines, stack in stacks.items():
        # With this each gateway's own notion of the slots is the engines' again.
        steps.now(f"{engines} engines: how many answers a second")
        capacity[engines] = capacity_per_s(stack, plan, engines)
        steps.done(f"{engines} engines: {capacity[engines]:.1f} answers/s where clients wait for one another")
        for turn in range(plan.rounds):
            for load in plan.loads:
                which = f"round {turn + 1}: {engines} engines at {load:g}"
                steps.now(which)
                requests = asked(plan, load * capacity[engines], f"{engines}-{load}")
                visit = TwinVisit(turn, engines, load, requests, *seen(stack, plan, requests, turn))
                found.append(visit)
                steps.done(f"{which}: {len(requests)} requests, {visit.loads:.0f} loads")
    return capacity, found


def played_again(path: Path) -> list[dict[str, object]]:
    """Its visits and their twins, by the simulator of now. Raises ConfigError."""
    found = read_recorded(path)
    alone, beside = (calibration_of(found.calibration[said]) for said in (ALONE_SAID, BESIDE_SAID))
    speed = fitted(alone, beside, seats=MOST_SEQUENCES, slots=SLOTS)
    return twins_of(found.visits, found.plan, speed, found.settings.least_residency_s)


def twins_of(
    visits: Sequence[TwinVisit], plan: SimulatorPlan, speed: EngineSpeed, least_residency_s: float
) -> list[dict[str, object]]:
    """Every visit and its twin."""
    return [row for visit in visits for row in rows_of(visit, plan, speed, least_residency_s)]


async def _calibrate(
    calibrators: Mapping[str, Calibrator], other: EngineProbe, plan: SimulatorPlan, steps: Steps
) -> None:
    for said, calibrator in calibrators.items():
        steps.now(f"an engine {said} is asked for its speed")
        began = time.monotonic()
        if said == BESIDE_SAID:
            async with other.kept_busy(BESIDE, 0, plan.prompt_tokens, plan.output_tokens):
                await calibrator.run()
        else:
            await calibrator.run()
        found = ", ".join(
            f"{size}x{of} {took_s * 1000:.0f}" for (size, of), took_s in calibrator.result.step_s.items()
        )
        steps.done(
            f"an engine {said} asked for its speed in {time.monotonic() - began:.0f} s; "
            f"steps by requests x adapters, ms: {found}"
        )
