"""`bench workers`: 1, 2 and 4 worker processes of the gateway, before the canned engine.

Each is measured alone on one core, as one worker is elsewhere, and on all cores, which it then shares with
the load and the engine: those cost cores too, so the most that could be reached is given beside it.
"""

from __future__ import annotations

import itertools
import os
import resource
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated

import typer

from gateway.errors import EngineFailure
from launch.bench.overhead.overhead import order, settle
from launch.bench.overhead.subjects import Checkout, start_gateway, start_upstream
from launch.bench.overhead.wrk import run_wrk
from launch.bench.programs import proc
from launch.bench.programs.places import RESULTS
from launch.bench.programs.running import Programs, ProxyUnderTest, choose_cores
from launch.bench.results.markdown import markdown_ratios, markdown_table
from launch.bench.results.record import JsonOption, OutputOption, recorded, visits
from launch.bench.results.summary import Compared, Figures, Summary, ratios_within, summarise
from launch.bench.results.tables import rows_of
from launch.machine.memory import PROC

APART, SHARED = "apart", "shared"
"""The gateway on the first core and the load on the second; all on all."""
SHOWN = {
    "requests_per_s": ("requests/s", 0),
    "of_most": ("of the most", 2),
    "cpu_us": ("gateway, CPU us/request", 1),
    "load_cpu_us": ("load and engine, us", 1),
    "p50_us": ("p50 us", 0),
    "p99_us": ("p99 us", 0),
    "errors": ("errors", 0),
}
RATIOS = {key: SHOWN[key] for key in ("requests_per_s", "cpu_us")}


@dataclass(frozen=True)
class WorkersPlan:
    """How many rounds, how long, and with how many workers and connections is measured."""

    rounds: int = 5
    load_s: float = 3.0
    warm_up_s: float = 2.0
    workers: tuple[int, ...] = (1, 2, 4)
    connections: tuple[int, ...] = (64, 256)
    seed: int = 1

    @classmethod
    def quick(cls) -> WorkersPlan:
        """A smoke run: everything once, for a second each."""
        return cls(rounds=1, load_s=1.0, warm_up_s=1.0)


def workers_command(
    rounds: Annotated[int | None, typer.Option(min=1, help="visits to every number; default 5")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="a smoke run: once, a second each")] = False,
    output: OutputOption = RESULTS,
    as_json: JsonOption = False,
) -> None:
    """Requests/s and CPU per request by the number of worker processes."""
    basis = WorkersPlan.quick() if quick else WorkersPlan()
    plan = basis if rounds is None else replace(basis, rounds=rounds)
    recorded(output, "workers", lambda scratch: measure(scratch, plan), quick=quick, as_json=as_json)


def measure(scratch: Path, plan: WorkersPlan) -> dict[str, object]:
    """Every number of workers in every round, as a document. Raises ConfigError and EngineFailure."""
    cores = sorted(os.sched_getaffinity(0))
    rows: list[dict[str, object]] = []
    with (
        (scratch / "programs.log").open("w", encoding="utf-8") as log,
        Programs(choose_cores(cores), log) as programs,
    ):
        upstream = start_upstream(programs, scratch / "upstream")
        subjects: dict[str, ProxyUnderTest] = {}
        for count in plan.workers:
            name = named(count)
            subjects[name], _, _ = start_gateway(
                programs, scratch / name.replace(" ", "-"), upstream, Checkout(), workers=count
            )
            subjects[name].name = name
        visitor = WorkerVisits(programs, subjects, scratch)
        for subject in subjects.values():
            run_wrk(subject, scratch, 64, plan.warm_up_s)
        cells = list(itertools.product(range(plan.rounds), plan.connections, placements(cores).items()))
        with visits(len(cells) * len(subjects)) as steps:
            for number, connections, (placed, on) in cells:
                for name in order(list(subjects), number, plan.seed):
                    cell = f"{placed}, {connections} connections"
                    which = f"round {number + 1} of {plan.rounds}: {cell}, {name}"
                    steps.now(which)
                    row = visitor.visit(name, connections, on, plan.load_s)
                    rows.append({"round": number, "cell": cell, "subject": name, **row})
                    steps.done(f"{which}: {row.get('requests_per_s', 0.0):,.0f} requests/s")
    summary = summarise(rows)
    found = ratios(rows, plan.workers)
    print(report(summary, found))
    return {
        "settings": {**asdict(plan), "cores": len(cores), "placements": [*placements(cores)]},
        "summary": summary,
        "ratios": found,
        "rounds": rows,
    }


@dataclass(frozen=True)
class CoreShares:
    """Where the gateway runs, and where wrk and the canned engine."""

    gateway: frozenset[int]
    load: frozenset[int]


def placements(cores: Sequence[int]) -> dict[str, CoreShares]:
    """With one core there is only the one where all share it."""
    shared = {SHARED: CoreShares(frozenset(cores), frozenset(cores))}
    if len(cores) == 1:
        return shared
    return {APART: CoreShares(frozenset(cores[:1]), frozenset(cores[1:2])), **shared}


def named(workers: int) -> str:
    """As it stands in the results."""
    return f"{workers} worker" if workers == 1 else f"{workers} workers"


class WorkerVisits:
    """One subject at a time, on the cores that a visit says."""

    def __init__(self, programs: Programs, subjects: Mapping[str, ProxyUnderTest], folder: Path) -> None:
        self._programs = programs
        self._subjects = subjects
        self._folder = folder

    def visit(self, name: str, connections: int, on: CoreShares, seconds: float) -> dict[str, float]:
        """The figures of one. Raises EngineFailure where nothing was answered."""
        subject = self._subjects[name]
        engine = self._programs.pids() - {pid for one in self._subjects.values() for pid in one.pids}
        settle(self._subjects.values())
        pin(subject.pids, on.gateway)
        pin({*engine, os.getpid()}, on.load)  # wrk is a child of this process
        before = proc.cpu_s(subject.pids), proc.cpu_s(engine) + _children_cpu_s()
        figures = run_wrk(subject, self._folder, connections, seconds)
        gateway_s = proc.cpu_s(subject.pids) - before[0]
        # wrk was waited for, and only then does the kernel count it among the children.
        load_s = proc.cpu_s(engine) + _children_cpu_s() - before[1]
        if not figures.requests:
            raise EngineFailure(f"{name} answered nothing at {connections} connections")
        row = figures.row()
        row["cpu_us"] = gateway_s * 1e6 / figures.requests
        row["load_cpu_us"] = load_s * 1e6 / figures.requests
        return row | {"of_most": figures.per_s / most_per_s(row["cpu_us"], row["load_cpu_us"], on)}


def most_per_s(gateway_us: float, load_us: float, on: CoreShares) -> float:
    """Requests a second, if every core were busy all the time with what a request costs here."""
    if on.gateway & on.load:
        return len(on.gateway | on.load) * 1e6 / (gateway_us + load_us)
    return 1e6 * min(len(on.gateway) / gateway_us, len(on.load) / load_us)


def pin(pids: Collection[int], cores: Collection[int]) -> None:
    """Every thread of the processes runs on these cores alone; one that has ended is passed over."""
    for pid in pids:
        with suppress(OSError):
            for thread in (PROC / str(pid) / "task").iterdir():
                with suppress(OSError):
                    os.sched_setaffinity(int(thread.name), cores)


def ratios(rows: Sequence[Mapping[str, object]], workers: Sequence[int]) -> dict[str, dict[str, Figures]]:
    """`2 workers, cell` → figure → theirs over one worker's, within each round."""
    cells = dict.fromkeys(str(row["cell"]) for row in rows)
    pairs = {
        f"{named(count)}, {cell}": ((cell, named(count)), (cell, named(workers[0])))
        for cell in cells
        for count in workers[1:]
    }
    return ratios_within(rows, pairs, [*RATIOS])


def report(summary: Summary, found: Compared) -> str:
    """The figures, and what several workers are to one."""
    figures = markdown_table(["on the cores", "gateway"], SHOWN, rows_of(summary))
    return f"{figures}\n{markdown_ratios('to one worker, within a round', RATIOS, found)}"


def _children_cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
