"""`lora-gateway bench`: what there is to measure, and a look at earlier results."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Annotated, TextIO

import typer

from gateway.errors import ConfigError
from launch.base.progress import said_on_stderr
from launch.bench.overhead.overhead import OverheadPlan, measure_streams, measure_whole
from launch.bench.overhead.peers import Peer, read_peers
from launch.bench.overhead.scale import ScalePlan, measure_scale
from launch.bench.overhead.subjects import Checkout
from launch.bench.programs import machine
from launch.bench.programs.places import ENVIRONMENTS, RESULTS, ROOT, check_checkout, program
from launch.bench.programs.running import Cores, Programs, choose_cores
from launch.bench.results import report
from launch.bench.results.picture import draw
from launch.bench.results.record import JsonOption, console, print_json, write_result
from launch.bench.results.regression import TOLERANCE, read_result, regressions
from launch.bench.results.summary import ratios, summarise
from launch.commands import add_late, command_of, imported_command, late_group

LOG = "programs.log"
OTHERS = {
    "workers": ("overhead.workers", "1, 2 and 4 worker processes of the gateway"),
    "replicas": ("replicas.replicas", "Two real engines against one"),
    "replacement": ("replicas.replacement", "An adapter replaced on two replicas under load"),
    "simulator": ("replicas.simulator", "The simulator held against one and two real engines"),
    "engine": ("engine.engine", "A real vLLM, direct and through the gateway"),
    "pipeline": ("pipeline.pipeline", "A pipeline against the same stages by hand"),
    "churn": ("faults.churn", "Adapters exchanged under traffic, and whose answers come"),
    "proof": ("faults.proof", "How often the proof of an adapter errs, on a real engine"),
    "recovery": ("faults.recovery", "Engine, supervisor and gateway killed under load"),
    "slots": ("faults.slots", "More adapters than LoRA slots, beside vLLM left alone"),
    "beside": ("faults.background", "A client's requests alone and beside a batch"),
    "overload": ("overload.overload", "More than the engine can answer: what is answered in time, and whose"),
    "bases": ("results.bases", "What is planned for many bases, beside what is true of them"),
}
"""Command → its module below `launch.bench`, which has it as `<name>_command`; and what it measures."""

RoundsOption = Annotated[int | None, typer.Option(min=1, help="visits to every proxy; default 5 (scale: 3)")]
QuickOption = Annotated[bool, typer.Option("--quick", help="a smoke run: everything once, for a second each")]
OutputOption = Annotated[Path, typer.Option("--output", help="folder for the results")]
CheckoutOption = Annotated[
    Path, typer.Option("--gateway-from", help="a checkout whose gateway/ is measured instead of this one's")
]
CheckOption = Annotated[
    Path | None, typer.Option("--check", help="an earlier result; exit code 1 where this one is worse")
]
ToleranceOption = Annotated[float, typer.Option(min=0, help="how much worse a ratio may be, as a share")]


def build_bench_app() -> typer.Typer:
    """Every benchmark; without a sub-command, overhead and scale."""
    app = typer.Typer(
        cls=late_group({name: partial(_other, name) for name in OTHERS}),
        add_completion=False,
        pretty_exceptions_enable=False,
    )
    app.callback(invoke_without_command=True)(bench_command)
    app.command("overhead")(overhead_command)
    app.command("scale")(scale_command)
    app.command("report")(report_command)
    for name, (_, text) in OTHERS.items():
        add_late(app, name, text)
    return app


def bench_command(
    context: typer.Context,
    rounds: RoundsOption = None,
    quick: QuickOption = False,
    everything: Annotated[bool, typer.Option("--all", help="engine and pipeline too")] = False,
    as_json: JsonOption = False,
) -> None:
    """Measure what the gateway adds and how it scales (both, without a sub-command)."""
    if context.invoked_subcommand is not None:
        return
    overhead_command(rounds=rounds, quick=quick, as_json=as_json)
    scale_command(rounds=rounds, quick=quick, as_json=as_json)
    if everything:
        options = [*(["--quick"] if quick else []), *(["--rounds", str(rounds)] if rounds else [])]
        options += ["--json"] if as_json else []
        for name in ("engine", "pipeline"):
            code = command_of(_other(name))(options, standalone_mode=False)
            if code:  # what typer.Exit said; a command that ends by itself returns nothing
                raise typer.Exit(code)


def _other(name: str) -> typer.Typer:
    return imported_command(name, f"launch.bench.{OTHERS[name][0]}")


def overhead_command(
    rounds: RoundsOption = None,
    quick: QuickOption = False,
    only: Annotated[str | None, typer.Option(help="whole or streams alone")] = None,
    seed: Annotated[int, typer.Option(help="of the order within a round")] = 1,
    limits: Annotated[
        bool, typer.Option("--limits", help="whole: once more with limits for the key")
    ] = False,
    output: OutputOption = RESULTS,
    gateway_from: CheckoutOption = ROOT,
    check: CheckOption = None,
    tolerance: ToleranceOption = TOLERANCE,
    as_json: JsonOption = False,
) -> None:
    """Added latency, rate, CPU and memory, beside nginx and the peers of `make bench-peers`."""
    if only not in (None, "whole", "streams"):
        raise ConfigError("--only", only, "must be whole or streams")
    baseline = read_result(check) if check is not None else None
    basis = OverheadPlan.quick() if quick else OverheadPlan()
    plan = replace(basis, rounds=rounds or basis.rounds, seed=seed, limits=limits)
    with said_on_stderr(as_json):
        document = _overhead(plan, Checkout(gateway_from.resolve()), only)
        _show_overhead(document)
        _save(output, "overhead-quick" if quick else "overhead", document)
        worse = [] if baseline is None else _compare(document, baseline, tolerance)
    print_json(document, as_json)
    if worse:
        raise typer.Exit(1)


def _overhead(plan: OverheadPlan, checkout: Checkout, only: str | None) -> dict[str, object]:
    peers, cores, say = _prepare()
    # Before anything is started, since it keeps the load of now.
    about = machine.describe({peer.name: peer.version for peer in peers if peer.version})
    rows: list[dict[str, object]] = []
    left_out: dict[str, dict[str, str]] = {}
    for name, measure in (("whole", measure_whole), ("streams", measure_streams)):
        if only in (None, name):
            with _scratch() as folder, _log() as log, Programs(cores, log) as programs:
                # Programs of its own: those of the part before would take memory and time from it.
                found, missing = measure(programs, Path(folder), peers, checkout, plan, say)
            rows += found
            left_out[name] = missing
    return {
        "what": "overhead",
        "date": time.strftime("%Y-%m-%d"),
        "machine": about,
        "settings": {**asdict(plan), "proxy_core": cores.proxy, "load_core": cores.load},
        "left_out": left_out,
        "summary": summarise(rows),
        "ratios": ratios(rows),
        "rounds": rows,
    }


def scale_command(
    rounds: RoundsOption = None,
    quick: QuickOption = False,
    output: OutputOption = RESULTS,
    gateway_from: CheckoutOption = ROOT,
    as_json: JsonOption = False,
) -> None:
    """10,000 tasks, 10,000 idle clients, bodies up to 10 MB, 1,000 slow readers."""
    basis = ScalePlan.quick() if quick else ScalePlan()
    plan = replace(basis, rounds=rounds or basis.rounds)
    with said_on_stderr(as_json):
        document = _scale(plan, Checkout(gateway_from.resolve()))
        console().print(report.scale_table(document))
        _save(output, "scale-quick" if quick else "scale", document)
    print_json(document, as_json)


def _scale(plan: ScalePlan, checkout: Checkout) -> dict[str, object]:
    _, cores, _ = _prepare()
    about = machine.describe({})
    with _scratch() as folder, _log() as log, Programs(cores, log) as programs:
        figures = measure_scale(programs, Path(folder), checkout, plan)
    tasks = figures["tasks"]
    assert isinstance(tasks, dict)
    tasks["summary"] = summarise(tasks["rounds"])
    return {
        "what": "scale",
        "date": time.strftime("%Y-%m-%d"),
        "machine": about,
        "settings": {**asdict(plan), "proxy_core": cores.proxy, "load_core": cores.load},
        "figures": figures,
    }


def report_command(
    result: Annotated[Path, typer.Argument(help="a results file of `bench overhead`")],
    svg: Annotated[Path | None, typer.Option(help="where the picture goes")] = None,
    check: CheckOption = None,
    tolerance: ToleranceOption = TOLERANCE,
    as_json: JsonOption = False,
) -> None:
    """Show an earlier result, draw it, or compare it with another."""
    document = read_result(result)
    with said_on_stderr(as_json):
        _show_overhead(document)
        if svg is not None:
            try:
                svg.write_text(draw(report.summary_of(document), report.footer(document)), encoding="utf-8")
            except OSError as error:
                raise ConfigError("--svg", str(svg), f"cannot be written: {error.strerror}") from error
            print(f"picture: {svg}")
        worse = [] if check is None else _compare(document, read_result(check), tolerance)
    print_json(document, as_json)
    if worse:
        raise typer.Exit(1)


def _prepare() -> tuple[list[Peer], Cores, Callable[[str], None]]:
    check_checkout()
    # Now and not in the middle of a run, minutes later.
    for name in ("wrk", "nginx", "taskset"):
        program(name)
    cores = choose_cores(os.sched_getaffinity(0))
    out = console()
    if not cores.apart:
        out.print(
            "one core only: proxy, load and mock share it, and the figures are those of all three together"
        )
    return read_peers(), cores, lambda text: out.print(text, style="dim", highlight=False)


def _scratch() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="lora-gateway-bench-")


def _log() -> TextIO:
    ENVIRONMENTS.mkdir(exist_ok=True)
    return open(ENVIRONMENTS / LOG, "a", encoding="utf-8")


def _show_overhead(document: report.Document) -> None:
    out = console()
    for table in report.overhead_tables(document):
        out.print(table)
    left_out = document.get("left_out")
    for part, missing in left_out.items() if isinstance(left_out, dict) else ():
        for name, reason in missing.items():
            out.print(f"left out of {part}: {name}: {reason}", highlight=False)


def _save(folder: Path, what: str, document: dict[str, object]) -> None:
    path = write_result(folder, what, document)
    print(f"results: {path}")


def _compare(document: report.Document, baseline: report.Document, tolerance: float) -> list[str]:
    """What is worse; it is said."""
    worse = regressions(document, baseline, tolerance)
    for line in worse:
        print(f"worse: {line}")
    if not worse:
        print(f"no watched figure is worse by more than {tolerance:.0%}")
    return worse
