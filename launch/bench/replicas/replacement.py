"""`bench replacement`: a task's adapter replaced on two replicas, again and again, under load.

Every answer is held against what its adapter answered alone. The replicas are two real engines, or two
programs in their place, which answer at once: there what is seen is the gateway's and the control plane's.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import typer

from gateway.config.document import Config, load_config
from gateway.config.engine_settings import AttachedConfig, BackendConfig, PlacementConfig
from gateway.errors import ConfigError
from launch.base.locate import resolve_base
from launch.base.steps import Steps
from launch.bench.engine.config import HOST, KEY, under_test
from launch.bench.engine.dummy_adapters import write_versions
from launch.bench.engine.stack import Running, running_stack
from launch.bench.faults.churn import learn
from launch.bench.faults.churn_load import ChurnClients
from launch.bench.programs.places import RESULTS, ROOT
from launch.bench.programs.running import wait_until
from launch.bench.replicas.replacement_figures import PHASES, Replacement, figures_of
from launch.bench.results.markdown import markdown_table
from launch.bench.results.record import ConfigOption, JsonOption, OutputOption, console, recorded, visits
from launch.bench.results.summary import Summary, summarise
from launch.bench.results.tables import rows_of
from launch.engine.http import is_healthy
from launch.machine.child import Child
from launch.machine.ports import free_port
from launch.planning.found_config import CHECKOUT
from launch.supervisor.control_client import ControlClient

REPLICAS = 2
REPLACED = "red"
TASKS = (REPLACED, "green", "blue")
FIRST_SEED = 500
FAKE_ENGINE = ROOT / "tests" / "fakes" / "fake_vllm.py"
FAKE_PORT = 8240
WAYS = ("fake", "real")
SHOWN = {
    "requests": ("requests", 0),
    "wrong": ("wrong", 0),
    "refused": ("refused", 0),
    "broken": ("broken", 0),
    "replaced_s": ("one replaced within, median s", 2),
    "slowest_s": ("the slowest", 2),
    **{f"{phase}_{name}_ms": (f"{name} {phase}, ms", 0) for name in ("p50", "p99") for phase in PHASES},
}


@dataclass(frozen=True)
class ReplacementPlan:
    """How often, under how many clients."""

    rounds: int = 2
    replacements: int = 5
    """In each round, of one task."""
    clients: int = 8
    calm_s: float = 3.0
    """Before the first, and after each."""
    pause_s: float = 0.02
    """Of a client between two requests."""


def replacement_command(
    config: ConfigOption = CHECKOUT,
    engines: Annotated[str, typer.Option(help="fake, real, or both with a comma")] = ",".join(WAYS),
    rounds: Annotated[int, typer.Option(min=1, help="of a number of replacements each")] = 2,
    replacements: Annotated[int, typer.Option(min=1, help="in one round")] = 5,
    clients: Annotated[int, typer.Option(min=1, help="at once")] = 8,
    calm_s: Annotated[float, typer.Option(min=0.1, help="before the first and after each")] = 3.0,
    quick: Annotated[bool, typer.Option("--quick", help="one round of two, fake engines alone")] = False,
    output: OutputOption = RESULTS,
    as_json: JsonOption = False,
) -> None:
    """Replace an adapter on two replicas under load: wrong answers, refusals, times; 1 after a fault."""
    plan, ways = ReplacementPlan(rounds, replacements, clients, calm_s), engines.split(",")
    if not set(ways) <= set(WAYS):
        raise ConfigError("--engines", engines, f"must be {' or '.join(WAYS)}, or both with a comma")
    if quick:
        plan, ways = ReplacementPlan(1, 2, clients, 1.0), ["fake"]
    given = load_config(config)
    document = recorded(
        output,
        "replacement",
        lambda scratch: measure(given, scratch, plan, ways),
        quick=quick,
        as_json=as_json,
    )
    if document["faults"]:
        raise typer.Exit(1)


def measure(given: Config, scratch: Path, plan: ReplacementPlan, ways: Sequence[str]) -> dict[str, object]:
    """Every way of running the replicas, as a document. Raises ConfigError and EngineFailure."""
    rows: list[dict[str, object]] = []
    faults: list[str] = []
    base = resolve_base(given.base)
    versions = {**dict.fromkeys(TASKS, 1), REPLACED: plan.rounds * plan.replacements + 1}
    for way in ways:
        folders = write_versions(scratch / f"{way}-adapters", base, versions, FIRST_SEED)
        with running_replicas(given, scratch / way, folders, way) as (stack, control), ExitStack() as held:
            keep = set(stack.adapters.values())
            truth = learn(stack.engine_url, stack.base, folders, keep=keep, key=KEY)
            fresh = iter(folders[REPLACED][1:])
            steps = held.enter_context(visits(plan.rounds * plan.replacements))
            for turn in range(plan.rounds):
                which = f"round {turn + 1} of {plan.rounds}, {way} engines"
                steps.now(which)
                clients = ChurnClients(
                    stack.gateway_url,
                    KEY,
                    TASKS,
                    truth,
                    sys.maxsize,
                    pause_s=plan.pause_s,
                    # The fake engine's answers come whole.
                    streams=way == "real",
                )
                done = replaced_under_load(clients, control, fresh, plan, steps)
                figures = figures_of(clients.tally.seen, done)
                rows.append({"round": turn, "cell": f"{way} engines", "subject": "gateway", **figures})
                faults += clients.tally.faults
                faults += [f"round {turn + 1}: {key}" for key in ("wrong", "refused") if figures[key]]
                counts = (f"{figures[key]:.0f} {key}" for key in ("requests", "wrong", "refused"))
                steps.say(f"{which}: {', '.join(counts)}")
    summary = summarise(rows)
    print(report(summary))
    for fault in faults[:20]:
        console().print(f"fault: {fault}", highlight=False)
    return {
        "settings": {**asdict(plan), "replicas": REPLICAS, "tasks": len(TASKS), "engines": list(ways)},
        "summary": summary,
        "faults": faults,
        "rounds": rows,
    }


@contextmanager
def running_replicas(
    given: Config, folder: Path, folders: Mapping[str, Sequence[Path]], way: str
) -> Iterator[tuple[Running, ControlClient]]:
    """Two engines with the first adapter of each task, each on both. Raises ConfigError and EngineFailure."""
    folder.mkdir(parents=True)
    with ExitStack() as held:
        engines: object = BackendConfig.model_validate({"replicas": REPLICAS})
        if way == "fake":
            urls = [held.enter_context(fake_engine(folder, number)) for number in range(REPLICAS)]
            engines = [AttachedConfig.model_validate({"url": url}) for url in urls]
        config = under_test(
            given,
            {task: found[0] for task, found in folders.items()},
            state_dir=folder / "state",
        )
        roots = config.adapters.model_copy(update={"roots": [next(iter(folders.values()))[0].parent]})
        everywhere = PlacementConfig.model_validate({"policy": "everywhere"})
        config = config.model_copy(update={"adapters": roots, "engines": engines, "placement": everywhere})
        yield held.enter_context(running_stack(config, folder, KEY)), ControlClient(config.state_dir)


@contextmanager
def fake_engine(folder: Path, number: int) -> Iterator[str]:
    """A program that loads adapters as vLLM does and answers each by a number of its own; its URL."""
    port = free_port("engine.port", HOST, FAKE_PORT)
    with (folder / f"fake-{number}.log").open("w", encoding="utf-8") as log:
        child = Child([sys.executable, str(FAKE_ENGINE), "--port", str(port)], os.environ, out=log)
        try:
            url = f"http://{HOST}:{port}"
            wait_until(child, lambda: is_healthy(url), "the fake engine")
            yield url
        finally:
            child.stop(1.0)


def replaced_under_load(
    clients: ChurnClients,
    control: ControlClient,
    fresh: Iterator[Path],
    plan: ReplacementPlan,
    steps: Steps,
) -> list[Replacement]:
    """The replacements that were made while the clients asked. Raises what the control plane refuses."""
    asking = threading.Thread(target=clients.run, args=(plan.clients, float("inf")))
    asking.start()
    done: list[Replacement] = []
    try:
        time.sleep(plan.calm_s)
        for _ in range(plan.replacements):
            began_s = time.monotonic()
            answer = control.ask("POST", "/adapters", {"task": REPLACED, "source": str(next(fresh))})
            done.append(Replacement(REPLACED, str(answer["id"]), began_s, time.monotonic()))
            time.sleep(plan.calm_s)
            steps.advance()
    finally:
        clients.stop()
        asking.join()
    return done


def report(summary: Summary) -> str:
    """One row for each way of running the replicas."""
    rows = (([names[0]], figures) for names, figures in rows_of(summary))
    return markdown_table(["two replicas"], SHOWN, rows)
