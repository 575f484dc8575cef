"""`lora-gateway logs`: what the engine said, its noise folded."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Generator
from contextlib import suppress
from pathlib import Path
from typing import Annotated, TextIO

import typer

from gateway.errors import ConfigError
from launch.cli import completions
from launch.cli.options import DEMO_CONFIG, ConfigOption, StateOption, state_folder
from launch.engine.log.engine_output import FIRST, folded, is_telling, kept_lines, log_of, since_last_start

LOOK_EVERY_S = 0.3


def logs_command(
    everything: Annotated[bool, typer.Option("--all", "-a", help="every line, not the errors alone")] = False,
    lines: Annotated[int | None, typer.Option("--lines", "-n", min=1, help="the last so many")] = None,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="go on with what comes, until Ctrl-C")
    ] = False,
    before: Annotated[bool, typer.Option("--before", help="earlier starts too, not the last alone")] = False,
    engine: Annotated[
        str,
        typer.Option(
            "--engine", help="which engine, where there are several", autocompletion=completions.engines
        ),
    ] = FIRST,
    config: ConfigOption = DEMO_CONFIG,
    state_dir: StateOption = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="print JSON, a line for each; what is folded is left out")
    ] = False,
) -> None:
    """What the engine said since its last start: errors, and how many other lines there are."""
    folder = state_folder(config, state_dir)
    file = log_of(folder, engine)
    said = list(kept_lines(file))
    if not said and not follow:
        mend = f"has no {file.name}: no such engine of ours was started from it"
        raise ConfigError("state_dir", str(folder), mend)
    if not before:
        said = list(since_last_start(said))
    if as_json:
        shown = [_fact(line) for line in said if everything or is_telling(line)]
    else:
        shown = [*(said if everything else folded(said))]
    for line in shown if lines is None else shown[-lines:]:
        print(line)
    if follow:
        with suppress(KeyboardInterrupt):
            for line in coming(file, LOOK_EVERY_S):
                if everything or is_telling(line):
                    print(_fact(line) if as_json else line, flush=True)


def _fact(line: str) -> str:
    return json.dumps({"line": line, "error": is_telling(line)}, ensure_ascii=False)


def coming(file: Path, look_every_s: float) -> Generator[str]:
    """Each whole line that is written from now on, in a file that may be put aside and begun again."""
    handle = _opened(file)
    if handle is not None:
        handle.seek(0, os.SEEK_END)
    return _coming(file, handle, look_every_s)


def _opened(file: Path) -> TextIO | None:
    try:
        return file.open(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return None


def _coming(file: Path, handle: TextIO | None, look_every_s: float) -> Generator[str]:
    rest = ""
    try:
        while True:
            handle = handle or _opened(file)
            # Looked at before the file is read: nothing is written to one that was put aside.
            ended = handle is not None and _is_another(file, handle.fileno())
            more = handle.read() if handle is not None else ""
            *whole, rest = (rest + more).split("\n")
            yield from whole
            if handle is not None and ended:
                handle.close()
                handle = None
            elif not more:
                time.sleep(look_every_s)
    finally:
        if handle is not None:
            handle.close()


def _is_another(file: Path, descriptor: int) -> bool:
    """Whether the name stands for another file than the open one by now."""
    with suppress(FileNotFoundError):
        return os.fstat(descriptor).st_ino != file.stat().st_ino
    return False
