"""`bench replicas`: two real engines against one, through the gateway.

Three ways to use the cores: one engine on a half of them, two engines of a half each, one engine on all.
Whatever else runs (gateway, clients, the engines' own servers) takes its time from the same cores.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import typer

from gateway.config.document import Config
from gateway.config.engine_settings import BackendConfig, PlacementConfig
from launch.bench.engine.config import KEY, load_given
from launch.bench.engine.stack import Running, running_stack
from launch.bench.faults.slots import WARM_UP, configured
from launch.bench.faults.slots_load import LAWS, Answer, SlotClients, SlotsLoad, figures_of
from launch.bench.programs.places import RESULTS
from launch.bench.replicas.narrow import narrow_gateway
from launch.bench.results.markdown import markdown_ratios, markdown_table
from launch.bench.results.record import ConfigOption, JsonOption, OutputOption, recorded, visits
from launch.bench.results.summary import Compared, Figures, Summary, ratios_within, summarise
from launch.bench.results.tables import rows_of
from launch.bench.results.turns import in_order
from launch.planning.found_config import CHECKOUT

ONE, TWO, WHOLE = "one engine, half the cores", "two engines, half each", "one engine, all cores"
ENGINES = 2
ADAPTERS = 4
SHOWN = {
    "tokens_per_s": ("tokens/s", 1),
    "requests_per_s": ("requests/s", 2),
    "ttft_p50_ms": ("first token, p50 ms", 0),
    "ttft_p99_ms": ("p99 ms", 0),
}
RATIOS = ("tokens_per_s", "ttft_p50_ms", "ttft_p99_ms")


@dataclass(frozen=True)
class ReplicasPlan:
    """How many rounds, how long, and by how many clients is measured."""

    rounds: int = 2
    window_s: float = 10.0
    clients: tuple[int, ...] = (2, 8, 16)
    tokens: int = 16
    whole: bool = True
    """A third engine too, on all cores."""


def replicas_command(
    config: ConfigOption = CHECKOUT,
    rounds: Annotated[int, typer.Option(min=1, help="visits to each way")] = 2,
    window_s: Annotated[float, typer.Option(min=1, help="of one visit")] = 10.0,
    tokens: Annotated[int, typer.Option(min=1, help="of one answer")] = 16,
    whole: Annotated[bool, typer.Option(help="an engine on all cores too, a third one to start")] = True,
    quick: Annotated[bool, typer.Option("--quick", help="a smoke run: once, 8 clients, no third")] = False,
    output: OutputOption = RESULTS,
    as_json: JsonOption = False,
) -> None:
    """Tokens/s and first tokens of two engines beside one, at 2, 8 and 16 clients on four adapters."""
    plan = ReplicasPlan(rounds, window_s, tokens=tokens, whole=whole)
    if quick:
        plan = ReplicasPlan(1, window_s, (8,), tokens, whole=False)

    def measured(scratch: Path) -> dict[str, object]:
        return measure(load_given(config, dummy=True, placeholder=scratch / "unset"), scratch, plan)

    recorded(output, "replicas", measured, quick=quick, as_json=as_json)


def measure(given: Config, scratch: Path, plan: ReplicasPlan) -> dict[str, object]:
    """Everything, as a document. Raises ConfigError and EngineFailure."""
    rows: list[dict[str, object]] = []
    with running_ways(given, scratch, plan) as ways:
        for name, stack in ways.items():
            ask(stack, WARM_UP, f"warm-up-{name}")
        with visits(plan.rounds * len(plan.clients) * len(ways)) as steps:
            for turn in range(plan.rounds):
                for clients, name in in_order(plan.clients, [*ways], turn):
                    which = f"round {turn + 1} of {plan.rounds}: {clients} clients, {name}"
                    steps.now(which)
                    load = SlotsLoad(clients, plan.window_s, plan.tokens, plan.tokens)
                    figures = figures_of(ask(ways[name], load, f"{turn}-{clients}"), load)
                    rows.append({"round": turn, "cell": f"{clients} clients", "subject": name, **figures})
                    steps.done(f"{which}: {figures['tokens_per_s']:.1f} tokens/s")
        load_s = {name: stack.load_s for name, stack in ways.items()}
    summary, found = summarise(rows), ratios(rows)
    print(report(summary, found))
    cores = len(os.sched_getaffinity(0))
    return {
        "settings": {**asdict(plan), "adapters": ADAPTERS, "cores": cores},
        "load_s": load_s,
        "summary": summary,
        "ratios": found,
        "rounds": rows,
    }


@contextmanager
def running_ways(given: Config, scratch: Path, plan: ReplicasPlan) -> Iterator[dict[str, Running]]:
    """All of them at once: the one engine is the first of the two, through a gateway that knows no other."""
    with ExitStack() as held:
        config = with_engines(given, scratch / "two", ENGINES, ADAPTERS, ADAPTERS)
        two = held.enter_context(running_stack(config, scratch / "two", KEY))
        one = held.enter_context(narrow_gateway(config, two, scratch / "one", KEY))
        ways = {ONE: one, TWO: two}
        if plan.whole:
            apart = with_engines(given, scratch / "whole", 1, ADAPTERS, ADAPTERS)
            ways[WHOLE] = held.enter_context(running_stack(apart, scratch / "whole", KEY))
        yield ways


def with_engines(given: Config, folder: Path, engines: int, slots: int, adapters: int) -> Config:
    """The given base on so many engines, with random adapters, each on every engine."""
    changes = {
        "engines": BackendConfig.model_validate({"replicas": engines}),
        "placement": PlacementConfig.model_validate({"policy": "everywhere"}),
    }
    folder.mkdir(parents=True, exist_ok=True)
    return configured(given.model_copy(update=changes), folder, slots, adapters)


def ask(stack: Running, load: SlotsLoad, seed: str) -> list[Answer]:
    """One visit; the same draws for all ways of a round."""
    tasks = [*stack.adapters]
    clients = SlotClients(stack.gateway_url, KEY, tasks, LAWS["uniform"](len(tasks)))
    # A salt for each gateway: two of them share an engine, which would know the other's prompts again.
    return clients.run(load, seed, f"{stack.gateway_url}-{seed}")


def ratios(rows: Sequence[Mapping[str, object]]) -> dict[str, dict[str, Figures]]:
    """`two engines …, 8 clients` → figure → theirs over the one engine's, within each round."""
    cells = dict.fromkeys(str(row["cell"]) for row in rows)
    others = [name for name in dict.fromkeys(str(row["subject"]) for row in rows) if name != ONE]
    pairs = {f"{name}, {cell}": ((cell, name), (cell, ONE)) for name in sorted(others) for cell in cells}
    return ratios_within(rows, pairs, RATIOS)


def report(summary: Summary, found: Compared) -> str:
    """The figures, and what two engines, or all cores, are to the one."""
    compared = {key: SHOWN[key] for key in RATIOS}
    figures = markdown_table(["load", "engines"], SHOWN, rows_of(summary))
    return f"{figures}\n{markdown_ratios('to one engine on half the cores', compared, found)}"
