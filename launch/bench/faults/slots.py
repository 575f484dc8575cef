"""`bench slots`: more adapters than LoRA slots, through the gateway and with vLLM left alone.

Both arms ask one engine, in turn, with the same adapters loaded and the same draws: the gateway lets in the
adapters that fit together (`gateway.admission.turns.lora_slots`), vLLM left alone holds back whatever finds
no slot.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from gateway.config.document import Config
from gateway.errors import ConfigError
from launch.base.locate import resolve_base
from launch.bench.engine.config import KEY, load_given, under_test
from launch.bench.engine.dummy_adapters import SMALL, TELLING, write_dummy_adapter
from launch.bench.engine.stack import Running, running_stack
from launch.bench.faults.slots_load import LAWS, Answer, SlotClients, SlotsLoad, figures_of
from launch.bench.programs.places import RESULTS
from launch.bench.results.record import ConfigOption, JsonOption, OutputOption, console, recorded, visits
from launch.bench.results.summary import DIRECT, OURS, Compared, Figures, Summary, ratios_within, summarise
from launch.bench.results.tables import MEDIANS, ratios_of, rows_of, spread_table
from launch.bench.results.turns import in_order
from launch.planning.found_config import CHECKOUT

RANK_OF_SLOTS = 8
MOST_SEQUENCES = 16
WARM_UP = SlotsLoad(clients=4, window_s=2.0, least_tokens=4, most_tokens=4)
RATIOS = ("requests_per_s", "ttft_p50_ms", "ttft_p99_ms", "longest_wait_ms")
SHOWN = {
    "requests_per_s": ("requests/s", 2),
    "tokens_per_s": ("tokens/s", 1),
    "ttft_p50_ms": ("first token, p50 ms", 0),
    "ttft_p99_ms": ("p99 ms", 0),
    "longest_wait_ms": ("longest ms", 0),
    "fairness": ("fairness", 2),
}


@dataclass(frozen=True)
class Cell:
    """How many adapters, and how they are drawn."""

    law: str
    adapters: int

    @property
    def name(self) -> str:
        return f"{self.law}, {self.adapters} adapters"


CELLS = "zipf:8,zipf:16,zipf:64,own:8"
QUICK_CELLS = "zipf:8"


def slots_command(
    config: ConfigOption = CHECKOUT,
    rounds: Annotated[int, typer.Option(min=1, help="visits to each arm")] = 3,
    quick: Annotated[bool, typer.Option("--quick", help="one short round with 8 adapters")] = False,
    slots: Annotated[int, typer.Option(min=1, help="adapters in one batch")] = 4,
    clients: Annotated[int, typer.Option(min=1, help="at once")] = 16,
    window_s: Annotated[float, typer.Option(min=1, help="of one visit")] = 15.0,
    least_tokens: Annotated[int, typer.Option(min=1, help="of one answer")] = 8,
    most_tokens: Annotated[int, typer.Option(min=1, help="of one answer")] = 16,
    cells: Annotated[str, typer.Option(help="law:adapters, with commas; laws: zipf, uniform, own")] = CELLS,
    output: OutputOption = RESULTS,
    as_json: JsonOption = False,
) -> None:
    """Measure 8, 16 and 64 adapters on four slots, through the gateway and straight to vLLM."""
    load = SlotsLoad(clients, 10.0 if quick else window_s, least_tokens, max(least_tokens, most_tokens))
    chosen = read_cells(QUICK_CELLS if quick else cells)

    def measured(scratch: Path) -> dict[str, object]:
        given = load_given(config, dummy=True, placeholder=scratch / "unset")
        return measure(given, scratch, load, cells=chosen, rounds=1 if quick else rounds, slots=slots)

    recorded(output, "slots", measured, quick=quick, as_json=as_json)


def read_cells(text: str) -> list[Cell]:
    """`zipf:8,own:16` → cells. Raises ConfigError."""
    cells: list[Cell] = []
    for part in text.split(","):
        law, _, adapters = part.strip().partition(":")
        if law not in LAWS or not adapters.isdecimal() or not int(adapters):
            raise ConfigError("--cells", part, f"must be a law ({', '.join(LAWS)}), a colon and a number")
        cells.append(Cell(law, int(adapters)))
    return cells


def measure(
    given: Config, scratch: Path, load: SlotsLoad, *, cells: Sequence[Cell], rounds: int, slots: int
) -> dict[str, object]:
    """Everything, as a document. Raises ConfigError and EngineFailure."""
    most = max(cell.adapters for cell in cells)
    config = configured(given, scratch, slots, most)
    console().print(f"starting an engine with {slots} slots and {most} adapters", highlight=False)
    with running_stack(config, scratch, KEY) as stack:
        for arm in (DIRECT, OURS):
            ask(stack, arm, cells[0], WARM_UP, "warm-up")
        rows: list[dict[str, object]] = []
        with visits(rounds * len(cells) * 2) as steps:
            for turn in range(rounds):
                for cell, arm in in_order(cells, (OURS, DIRECT), turn):
                    which = f"round {turn + 1} of {rounds}: {cell.name}, {arm}"
                    steps.now(which)
                    figures = figures_of(ask(stack, arm, cell, load, f"{turn}-{cell.name}"), load)
                    rows.append({"round": turn, "cell": cell.name, "subject": arm, **figures})
                    steps.done(f"{which}: {figures['requests_per_s']:.2f} requests/s")
        load_s = stack.load_s
    summary = summarise(rows)
    console().print(figures_table(summary))
    console().print(ratios_table(ratios(rows)))
    return {
        "settings": {
            **asdict(load),
            "rounds": rounds,
            "slots": slots,
            "max_num_seqs": MOST_SEQUENCES,
            "adapter_rank": SMALL.rank,
            "least_residency_s": config.gateway.least_residency_s,
            "cells": [cell.name for cell in cells],
        },
        "load_s": load_s,
        "summary": summary,
        "ratios": ratios(rows),
        "rounds": rows,
    }


def configured(given: Config, scratch: Path, slots: int, adapters: int) -> Config:
    """The given base with so many slots and random adapters."""
    base = resolve_base(given.base)
    folders: dict[str, Path] = {}
    for seed in range(adapters):
        name = f"made-{seed:02d}"
        folders[name] = scratch / "adapters" / name
        write_dummy_adapter(folders[name], base, SMALL, seed, TELLING)
    changes = {"max_loras": slots, "max_lora_rank": RANK_OF_SLOTS, "max_num_seqs": MOST_SEQUENCES}
    changed = given.model_copy(update={"base": given.base.model_copy(update=changes)})
    return under_test(changed, folders, state_dir=scratch / "state")


def ask(stack: Running, arm: str, cell: Cell, load: SlotsLoad, seed: str) -> list[Answer]:
    """One visit to one arm in one cell: the same draws for both arms of a round."""
    tasks = [*stack.adapters][: cell.adapters]
    models = tasks if arm == OURS else [stack.adapters[task] for task in tasks]
    url = stack.gateway_url if arm == OURS else stack.engine_url
    clients = SlotClients(url, KEY, models, LAWS[cell.law](len(tasks)))
    # A salt for each arm: both ask one engine, which would know the other's prompts again.
    return clients.run(load, seed, f"{arm}-{seed}")


def ratios(rows: Sequence[Mapping[str, object]]) -> dict[str, dict[str, Figures]]:
    """cell → figure → the gateway's over vLLM's alone, formed within each round."""
    cells = dict.fromkeys(str(row["cell"]) for row in rows)
    return ratios_within(rows, {cell: ((cell, OURS), (cell, DIRECT)) for cell in cells}, RATIOS)


def figures_table(summary: Summary) -> Table:
    """One row for each cell and subject, with the spread of its figures."""
    return spread_table(MEDIANS, ["adapters", "through"], SHOWN, rows_of(summary))


def ratios_table(found: Compared) -> Table:
    """One row for each cell: the gateway's figures over those of vLLM alone."""
    columns = {key: SHOWN[key] for key in RATIOS}
    return ratios_of(found, "The gateway over vLLM alone, within each round", "adapters", columns)
