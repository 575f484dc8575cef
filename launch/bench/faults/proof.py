"""`bench proof`: how often the proof of an adapter errs, on a real engine, idle and under load.

Of each trained adapter one is made whose lora_B is a sixteenth, which must be proven, and one whose lora_B is
zero, which must not. What each weak one scores is held against what the others scored, as if their weights
were served under its name.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from gateway.config.document import Config, load_config
from launch.base.progress import said_on_stderr
from launch.bench.engine.config import KEY, under_test
from launch.bench.engine.stack import running_stack
from launch.bench.faults.proof_trials import Errors, Traffic, load_scaled, try_proofs
from launch.bench.programs import machine
from launch.bench.programs.places import RESULTS
from launch.bench.results.record import (
    ConfigOption,
    JsonOption,
    OutputOption,
    console,
    print_json,
    visits,
    write_result,
)
from launch.bench.results.tables import plain_table
from launch.planning.found_config import CHECKOUT

SCALE = 1 / 16
TYPES = "bfloat16,float32"
IN_FLIGHT = "0,16"
PROOFS_AT_ONCE = 4
"""Where there are others' requests too."""
SHOWN = {
    "dtype": "type",
    "in_flight": "in flight",
    "proofs": "proofs",
    "weak_refused": "weak refused",
    "untrained_accepted": "untrained accepted",
    "known_refused": "its own weights refused",
    "others_accepted": "others' accepted",
    "mixed_batches": "batches",
    "mixups_missed": "mix-ups missed",
    "mixups_seen_without": "seen where none was",
    "odd": "base's odd answers",
    "proof_p50_s": "a proof, p50 s",
}


def proof_command(
    config: ConfigOption = CHECKOUT,
    repeats: Annotated[int, typer.Option(min=1, help="proofs of each kind")] = 200,
    types: Annotated[str, typer.Option(help="of the base, with commas")] = TYPES,
    in_flight: Annotated[str, typer.Option(help="clients' requests beside it, with commas")] = IN_FLIGHT,
    scale: Annotated[float, typer.Option(min=0, help="of lora_B, of the adapters that must pass")] = SCALE,
    adapter: Annotated[list[Path] | None, typer.Option(help="a trained adapter beside the tasks'")] = None,
    output: OutputOption = RESULTS,
    as_json: JsonOption = False,
) -> None:
    """Count false refusals and false acceptances of the proof."""
    given = load_config(config)
    cells: list[dict[str, object]] = []
    document = {
        "what": "proof",
        "machine": machine.describe({}),
        "settings": {"repeats": repeats, "scale": scale},
        "cells": cells,
    }
    wrong = 0
    with said_on_stderr(as_json):
        for dtype in types.split(","):
            with tempfile.TemporaryDirectory(prefix="lora-gateway-bench-") as scratch:
                crowds = [int(count) for count in in_flight.split(",")]
                folders = [*(one.adapter for one in given.tasks.values()), *(adapter or ())]
                for found in measure(given, Path(scratch), dtype, folders, crowds, repeats, scale):
                    cells.append({"dtype": dtype, **found.figures})
                    wrong += found.wrong
                    written = write_result(output, "proof", document)  # as each cell takes minutes
        console().print(table_of(cells))
        console().print(written.as_posix())
    print_json(document, as_json)
    if wrong:
        raise typer.Exit(1)


def measure(
    given: Config,
    scratch: Path,
    dtype: str,
    folders: Sequence[Path],
    crowds: Sequence[int],
    repeats: int,
    scale: float,
) -> Iterator[Errors]:
    """One engine of that type, beside each crowd in turn. Raises ConfigError and EngineFailure."""
    base = given.base.model_copy(update={"dtype": dtype})
    config = under_test(
        given.model_copy(update={"base": base}),
        {name: one.adapter for name, one in given.tasks.items()},
        state_dir=scratch / "state",
    )
    with running_stack(config, scratch, KEY, gateway=False) as stack:
        loaded = load_scaled(stack.engine_url, folders, scratch / "scaled", scale, KEY)
        for crowd in crowds:
            at_once = PROOFS_AT_ONCE if crowd else 1
            models = [stack.base, *stack.adapters.values()]
            with visits(repeats) as steps, Traffic(stack.engine_url, models, crowd, KEY):
                steps.now(f"proofs in {dtype}, {crowd} requests beside them")
                found = try_proofs(
                    stack.engine_url,
                    stack.base,
                    loaded,
                    crowd,
                    repeats,
                    at_once,
                    key=KEY,
                    tried=steps.advance,
                )
            yield found


def table_of(cells: Sequence[dict[str, object]]) -> Table:
    """One row for each type and crowd."""
    table = plain_table("The proof's errors", SHOWN.values())
    for cell in cells:
        table.add_row(*(str(cell[name]) for name in SHOWN))
    return table
