"""`bench recovery`: SIGKILL for engine, supervisor and gateway in turn, under load; the times to recovery."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Annotated

import typer
from rich.table import Table

from gateway.config.document import Config, load_config
from gateway.errors import EngineFailure
from launch.base.progress import terminal_progress
from launch.bench.engine.config import (
    HOST,
    KEY,
    environment_of,
    under_test,
    write_config,
)
from launch.bench.engine.stack import fail_if_ended
from launch.bench.faults.recovery_kills import VICTIMS, Patient, Recovery, SteadyLoad
from launch.bench.programs.places import RESULTS
from launch.bench.results.record import ConfigOption, JsonOption, OutputOption, console, recorded, visits
from launch.bench.results.tables import plain_table
from launch.machine.child import Child
from launch.machine.stack import ENGINE_GRACE_S, GATEWAY_GRACE_S
from launch.planning.found_config import CHECKOUT

POLL_S = 0.1
SETTLE_S = 2.0
"""Of load before each kill, so that every client is in the middle of something."""


def recovery_command(
    config: ConfigOption = CHECKOUT,
    rounds: Annotated[int, typer.Option(min=1, help="kills of each program")] = 3,
    clients: Annotated[int, typer.Option(min=1, help="clients that ask without a pause")] = 4,
    task: Annotated[str | None, typer.Option(help="whom they ask; default: the first task")] = None,
    limit_s: Annotated[float, typer.Option(min=1, help="longest time to recovery")] = 600.0,
    output: OutputOption = RESULTS,
    as_json: JsonOption = False,
) -> None:
    """Kill engine, supervisor and gateway of `lora-gateway up` in turn, under load; print the times."""
    given = load_config(config)
    recorded(
        output,
        "recovery",
        lambda scratch: measure(given, scratch, task, rounds, clients, limit_s),
        as_json=as_json,
    )


def measure(
    given: Config, scratch: Path, task: str | None, rounds: int, clients: int, limit_s: float
) -> dict[str, object]:
    """Everything, as a document. Raises EngineFailure where something does not come back."""
    model = task or next(iter(given.tasks), given.base.name)
    config = under_test(
        given,
        {name: one.adapter for name, one in given.tasks.items()},
        state_dir=scratch / "state",
    )
    recoveries: list[Recovery] = []
    with running_up(config, scratch) as up, SteadyLoad(_url(config), KEY, model, clients) as load:
        patient = Patient(up.pid, config.state_dir, load, lambda: fail_if_ended([up]))
        load_s = wait_until_ready(patient, load, up, config.engine.start_timeout_s)
        with visits(rounds * len(VICTIMS)) as steps:
            for number in range(rounds):
                for victim in VICTIMS:
                    steps.now(f"round {number + 1} of {rounds}: {victim} is killed")
                    time.sleep(SETTLE_S)
                    recoveries.append(patient.kill(victim, limit_s))
                    steps.done(line_of(recoveries[-1]))
    console().print(table_of(recoveries))
    return {
        "settings": {"rounds": rounds, "clients": clients, "model": model, "base": config.base.model},
        "first_load_s": load_s,
        "summary": summary(recoveries),
        "kills": [one.document() for one in recoveries],
    }


@contextmanager
def running_up(config: Config, folder: Path) -> Iterator[Child]:
    """`lora-gateway up` on that configuration, stopped in the end; its log is `<folder>/up.log`."""
    path = folder / "config.yaml"
    config.state_dir.mkdir(parents=True, exist_ok=True)
    write_config(config, path, KEY)
    argv = [sys.executable, "-m", "launch.cli.main", "up", "--config", str(path)]
    with (folder / "up.log").open("w", encoding="utf-8") as log:
        up = Child(argv, environment_of(config, os.environ), out=log)
        try:
            yield up
        finally:
            # `up` ends both, one after the other.
            limit_s = config.gateway.shutdown_timeout_s + config.engine.stop_timeout_s
            up.stop(limit_s + GATEWAY_GRACE_S + ENGINE_GRACE_S)


def wait_until_ready(patient: Patient, load: SteadyLoad, up: Child, limit_s: float) -> float:
    """Seconds until the first good answer. Raises EngineFailure."""
    began = time.monotonic()
    with terminal_progress() as report:
        report("starting the stack", None)
        while not load.answered_since(began):
            fail_if_ended([up])
            if time.monotonic() - began > limit_s:
                raise EngineFailure(f"the stack was not ready after {limit_s:.0f} s")
            time.sleep(POLL_S)
    engine = patient.engine()
    return engine.load_s or 0.0 if engine else 0.0


def summary(recoveries: Sequence[Recovery]) -> dict[str, dict[str, object]]:
    """By victim, medians over its kills."""
    summed: dict[str, dict[str, object]] = {}
    for victim in VICTIMS:
        own = [one for one in recoveries if one.victim == victim]
        gone = [one.gone_s for one in own if one.gone_s is not None]
        if own:
            summed[victim] = {
                "kills": len(own),
                "back_s": round(median(one.back_s for one in own), 2),
                "answered_s": round(median(one.answered_s for one in own), 2),
                "outage_s": round(median(one.outage_s for one in own), 2),
                "worst_outage_s": max(one.outage_s for one in own),
                "old_engine_gone_s": round(median(gone), 2) if gone else None,
                "failed": sum(sum(one.failed.values()) for one in own),
                "waited": sum(one.waited for one in own),
                "undisturbed": all(one.undisturbed for one in own),
            }
    return summed


def table_of(recoveries: Sequence[Recovery]) -> Table:
    """One row for each victim, with the medians of its kills in seconds."""
    figures = ("kills", "back", "answers again", "outage", "worst", "old engine gone", "failed", "waited")
    title = "SIGKILL under load: medians, in seconds"
    table = plain_table(title, ["killed"], [*figures, "others undisturbed"])
    for victim, row in summary(recoveries).items():
        shown = ["-" if value is None else str(value) for value in row.values()]
        table.add_row(victim, *shown[:-1], "yes" if row["undisturbed"] else "no")
    return table


def line_of(one: Recovery) -> str:
    failed = ", ".join(f"{count} x {status}" for status, count in one.failed.items()) or "none"
    times = f"{one.victim}: back in {one.back_s} s, outage {one.outage_s} s"
    return f"{times}, failed: {failed}, waited: {one.waited}"


def _url(config: Config) -> str:
    return f"http://{HOST}:{config.gateway.port}"
