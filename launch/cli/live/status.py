"""`lora-gateway status`."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Annotated, NoReturn

import typer

from launch.cli.live.overview import Overview, look
from launch.cli.live.screen import screen
from launch.cli.options import DEMO_CONFIG, ConfigOption, JsonOption, StateOption, state_folder

LOOK_EVERY_S = 0.5

WatchOption = Annotated[
    bool, typer.Option("--watch", "-w", help="again at each change, until Ctrl-C; with --json a line each")
]


def status_command(
    watch: WatchOption = False,
    config: ConfigOption = DEMO_CONFIG,
    state_dir: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say what the engines are doing; exit code 0 where one is ready, else 1."""
    folder = state_folder(config, state_dir)
    if not watch:
        seen = look(folder)
        print(_text(seen, as_json, indent=2))
        raise typer.Exit(0 if seen.state == "ready" else 1)
    with screen(in_place=not as_json) as show:
        show_changes(lambda: _text(look(folder), as_json), show, lambda: time.sleep(LOOK_EVERY_S))


def show_changes(look: Callable[[], str], show: Callable[[str], None], pause: Callable[[], None]) -> NoReturn:
    """Each text that differs from the one before, until somebody interrupts."""
    said = ""
    while True:
        text = look()
        if text != said:
            show(text)
            said = text
        pause()


def _text(seen: Overview, as_json: bool, indent: int | None = None) -> str:
    return json.dumps(seen.facts(), indent=indent) if as_json else "\n".join(seen.lines())
