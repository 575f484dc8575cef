"""`bench churn`: four tasks answer thousands of requests while their adapters are exchanged all the time.

Every answer is held against what its adapter answers alone: not one may be another adapter's or the base's.
"""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from gateway.config.document import Config, load_config
from gateway.errors import EngineFailure, LoraGatewayError
from launch.adapters.check import adapter_id
from launch.base.locate import resolve_base
from launch.base.steps import Steps
from launch.bench.engine.config import KEY, under_test
from launch.bench.engine.dummy_adapters import write_versions
from launch.bench.engine.stack import running_stack
from launch.bench.faults.churn_load import ChurnClients, ChurnTally, asked_directly
from launch.bench.faults.churn_operator import Change, Operator
from launch.bench.faults.churn_truth import PROMPTS, ExpectedAnswers, learn_answers
from launch.bench.programs.places import RESULTS
from launch.bench.results.record import ConfigOption, JsonOption, OutputOption, console, recorded, visits
from launch.bench.results.tables import plain_table
from launch.engine.http import load_adapter, unload_adapter
from launch.planning.found_config import CHECKOUT
from launch.simulation.figures import percentile
from launch.supervisor.control_client import ControlClient

TASKS = ("red", "green", "blue", "grey")
VERSIONS = 3
FIRST_SEED = 100
LEAST_TOLD = 0.5
"""Of all pairs of models and prompts."""
CLIENTS = 24
PAUSE_S = 2.0


@dataclasses.dataclass(frozen=True)
class ChurnPlan:
    """How much, how fast, how long."""

    requests: int
    clients: int = CLIENTS
    pause_s: float = PAUSE_S
    limit_s: float = 3600.0
    seed: int = 1


def churn_command(
    config: ConfigOption = CHECKOUT,
    requests: Annotated[int, typer.Option(min=1, help="in all")] = 10_000,
    pause_s: Annotated[float, typer.Option(min=0, help="between two changes")] = PAUSE_S,
    clients: Annotated[int, typer.Option(min=1, help="at once")] = CLIENTS,
    limit_s: Annotated[float, typer.Option(min=1, help="the load ends then, whatever is left")] = 3600.0,
    seed: Annotated[int, typer.Option(help="of the changes")] = 1,
    output: OutputOption = RESULTS,
    as_json: JsonOption = False,
) -> None:
    """Exchange adapters under traffic, and look at whose answers come."""
    given, plan = load_config(config), ChurnPlan(requests, clients, pause_s, limit_s, seed)
    document = recorded(output, "churn", lambda scratch: measure(given, scratch, plan), as_json=as_json)
    if document["faults"]:
        raise typer.Exit(1)


def measure(given: Config, scratch: Path, plan: ChurnPlan) -> dict[str, object]:
    """Everything, as a document. Raises ConfigError and EngineFailure."""
    versions = dict.fromkeys(TASKS, VERSIONS)
    folders = write_versions(scratch / "adapters", resolve_base(given.base), versions, FIRST_SEED)
    first = {task: found[0] for task, found in folders.items()}
    config = under_test(
        given,
        first,
        state_dir=scratch / "state",
    )
    # A folder that a command names must lie below one of these.
    roots = config.adapters.model_copy(update={"roots": [scratch / "adapters"]})
    config = config.model_copy(update={"adapters": roots})
    with running_stack(config, scratch, KEY) as stack:
        truth = learn(stack.engine_url, stack.base, folders, keep=set(stack.adapters.values()), key=KEY)
        told_apart, worst = truth.apart()
        say(
            f"{len(truth.alone)} models answer alone; {told_apart:.0%} of their answers can be told apart, "
            f"{worst} of {len(PROMPTS)} for the two most alike"
        )
        control = ControlClient(config.state_dir)
        began = time.monotonic()
        with visits(plan.requests) as steps:
            steps.now("requests, while adapters are exchanged")
            tally, operator = churn(stack.gateway_url, control, truth, folders, plan, steps)
        took_s = time.monotonic() - began
        _, state = control.answer("GET", "/state")
        log = stack.log.read_text(encoding="utf-8", errors="replace")
    faults = [*tally.faults, *operator.faults, *(["the engine was restarted"] if _restarted(state) else [])]
    table = table_of(tally, operator.changes, took_s)
    console().print(table)
    for fault in faults[:20]:
        say(f"fault: {fault}")
    return {
        "settings": {
            **dataclasses.asdict(plan),
            "tasks": len(TASKS),
            "versions": VERSIONS,
            "told_apart": round(told_apart, 3),
            "told_apart_at_least": f"{worst} of {len(PROMPTS)} prompts",
            "rounding": round(max(truth.rounding.values()), 6),
        },
        "took_s": round(took_s, 1),
        "statuses": dict(tally.statuses),
        "verdicts": dict(tally.verdicts),
        "answers_by_id": dict(tally.by_id),
        "latency_ms": _quantiles(tally.latencies_ms, 1),
        "distance_from_own": _quantiles(tally.own_distances, 4),
        "changes": [dataclasses.asdict(change) for change in operator.changes],
        "faults": faults,
        "tracebacks_in_log": log.count("Traceback"),
    }


def churn(
    url: str,
    control: ControlClient,
    truth: ExpectedAnswers,
    folders: Mapping[str, Sequence[Path]],
    plan: ChurnPlan,
    steps: Steps,
) -> tuple[ChurnTally, Operator]:
    """The load and the operator together, until the load is over. Raises what the operator raised."""
    operator = Operator(control, folders, plan.seed)
    load = ChurnClients(url, KEY, list(folders), truth, plan.requests, answered=steps.advance)
    stop = threading.Event()
    broken: list[LoraGatewayError] = []

    def operate() -> None:
        try:
            operator.run(plan.pause_s, stop)
        except LoraGatewayError as error:
            broken.append(error)

    beside = threading.Thread(target=operate)
    beside.start()
    try:
        load.run(plan.clients, plan.limit_s)
    finally:
        stop.set()
        beside.join()
    if broken:
        raise broken[0]
    return load.tally, operator


def learn(
    url: str, base: str, folders: Mapping[str, Sequence[Path]], keep: set[str], *, key: str
) -> ExpectedAnswers:
    """Each adapter alone on the idle engine, past the gateway, by its `key`; those in `keep` stay loaded.

    Raises EngineFailure, also where too few of them can be told apart.
    """
    known: dict[str, Path] = {}
    for task, found in folders.items():
        for path in found:
            settings = (path / "adapter_config.json").read_bytes()
            known[adapter_id(task, settings, path / "adapter_model.safetensors")] = path
    for name, path in known.items():
        load_adapter(url, name, path, key=key)
    truth = learn_answers(lambda model, prompt: asked_directly(url, model, prompt, key), [base, *known], base)
    for name in known:
        if name not in keep:
            unload_adapter(url, name, key=key)
    told = truth.apart()[0]
    if told < LEAST_TOLD:
        raise EngineFailure(f"only {told:.0%} of the answers can be told apart, by {truth.rounding}")
    return truth


def table_of(tally: ChurnTally, changes: Sequence[Change], took_s: float) -> Table:
    """What came back, and how long the changes took."""
    title = f"{sum(tally.statuses.values())} requests in {took_s:.0f} s"
    table = plain_table(title, ["what", "count"])
    for status, count in tally.statuses.most_common():
        table.add_row(f"status {status}", str(count))
    for verdict, count in tally.verdicts.most_common():
        table.add_row(f"answer is {verdict}", str(count))
    for what in dict.fromkeys(change.what for change in changes):
        done = [c for c in changes if c.what == what]
        well = sorted(c.took_s for c in done if c.status == 200)
        median = f", median {well[len(well) // 2]:.2f} s, longest {well[-1]:.2f} s" if well else ""
        table.add_row(what, f"{len(well)} done, {len(done) - len(well)} refused{median}")
    return table


def say(text: str) -> None:
    console().print(text, highlight=False)


def _quantiles(values: Sequence[float], digits: int) -> dict[str, float]:
    shares = {"p50": 0.5, "p99": 0.99, "max": 1.0}
    return {name: round(percentile(values or [0.0], share), digits) for name, share in shares.items()}


def _restarted(state: Mapping[str, object]) -> bool:
    engines = state.get("engines")
    return isinstance(engines, list) and any(engine.get("restarts") for engine in engines)
