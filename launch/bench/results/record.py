"""A benchmark's result: measured in a scratch folder, kept as a file of raw and summed figures."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console, RenderableType

from gateway.errors import ConfigError
from launch.base.progress import said_on_stderr
from launch.base.steps import Steps, counted_steps
from launch.bench.programs import machine

PLAIN_WIDTH = 120
ConfigOption = Annotated[Path, typer.Option("--config", "-c", help="the configuration (YAML)")]
OutputOption = Annotated[Path, typer.Option("--output", help="folder for the result")]
JsonOption = Annotated[bool, typer.Option("--json", help="print the result's JSON, on one line")]


def recorded(
    output: Path,
    what: str,
    measure: Callable[[Path], dict[str, object]],
    *,
    quick: bool = False,
    as_json: bool = False,
) -> dict[str, object]:
    """What `measure` finds, given an empty folder that is gone afterwards; kept by `write_result`.

    Added are the machine as it was before, the date, and the seconds that it took. A quick run is kept under
    a name of its own. Raises ConfigError.
    """
    began = time.monotonic()
    about = {"what": what, "date": time.strftime("%Y-%m-%d"), "machine": machine.describe({})}
    with said_on_stderr(as_json), tempfile.TemporaryDirectory(prefix="lora-gateway-bench-") as scratch:
        found = measure(Path(scratch))
        document = {**about, "took_s": round(time.monotonic() - began, 1), **found}
        console().print(write_result(output, f"{what}-quick" if quick else what, document).as_posix())
    print_json(document, as_json)
    return document


def print_json(document: Mapping[str, object], as_json: bool) -> None:
    """Where it is asked for."""
    if as_json:
        print(json.dumps(document, ensure_ascii=False), flush=True)


def write_result(folder: Path, what: str, document: Mapping[str, object]) -> Path:
    """`<date>-<what>.json`; the same day's earlier one is replaced. Raises ConfigError."""
    path = folder / f"{time.strftime('%Y-%m-%d')}-{what}.json"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    except OSError as error:
        raise ConfigError("--output", str(path), f"cannot be written: {error.strerror}") from error
    return path


def visits(total: int) -> AbstractContextManager[Steps]:
    """So many visits, each of which says a line."""
    return counted_steps(total, _print)


def _print(what: RenderableType) -> None:
    console().print(what, markup=False, highlight=False)


def console() -> Console:
    """A log has no edge; rich would take 80 columns."""
    found = Console()
    return found if found.is_terminal else Console(width=PLAIN_WIDTH)
