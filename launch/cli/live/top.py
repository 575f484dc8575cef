"""`lora-gateway top`: engines and tasks with what they do in a second, as it goes on."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import httpx
import typer
from rich import box
from rich.console import Console, Group, JustifyMethod, RenderableType
from rich.table import Table
from rich.text import Text

from gateway.config.loopback import may_use_proxy
from gateway.config.snapshot import EngineStatus
from launch.cli.live.figures import Figures, Reading, TaskFigures, figures_between, read_metrics
from launch.cli.live.overview import Overview, look
from launch.cli.live.screen import screen
from launch.cli.options import (
    DEMO_CONFIG,
    ConfigOption,
    JsonOption,
    StateOption,
    UrlOption,
    api_key,
    gateway_url,
    state_folder,
)
from launch.cli.task_text import shares
from launch.machine.memory import GIB

COLUMNS = (
    ("req/s", 8),
    ("tok/s", 16),
    ("err/s", 24),
    ("first token", 38),
    ("running", 48),
    ("waiting", 58),
    ("total", 68),
    ("answered by", 90),
)
"""Headings, and how much room beside the tasks' names there must be for each, those before it included."""
TIMEOUT_S = 5.0
EMPTY = TaskFigures()
COLOURS = {"ready": "green", "starting": "yellow", "draining": "yellow", "failed": "red"}


def top_command(
    every: Annotated[float, typer.Option(min=0.2, help="seconds between two looks")] = 2.0,
    once: Annotated[
        bool, typer.Option("--once", help="one table and the end, as where no terminal is")
    ] = False,
    url: UrlOption = None,
    config: ConfigOption = DEMO_CONFIG,
    state_dir: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Requests, tokens and errors of each task in a second, live, until Ctrl-C."""
    elsewhere = url is not None and not config.exists()  # of a gateway that is not this folder's
    folder = state_folder(config, state_dir or Path(".state") if elsewhere else state_dir)
    console = Console(highlight=False)
    source = MetricsSource(gateway_url(url, config, state_dir))
    before = source.read()
    time.sleep(min(every, 1.0))
    if as_json or once or not console.is_terminal:
        figures, why = source.since(before)
        if as_json:
            tasks = {name: asdict(one) for name, one in figures.tasks.items()}
            print(
                json.dumps(
                    {**look(folder).facts(), "figures": tasks, "figures_missing": why or None}, indent=2
                )
            )
        else:
            console.print(table_of(look(folder), figures, why, console.width))
        return
    with screen(console) as show:
        while True:
            figures, why = source.since(before)
            show(table_of(look(folder), figures, why, console.width))
            before = source.last or before
            time.sleep(every)


class MetricsSource:
    """A gateway's `/metrics`, which may be out of reach."""

    def __init__(self, url: str, transport: httpx.BaseTransport | None = None) -> None:
        self._url = url
        self._key = api_key()
        self._transport = transport
        self.last: Reading | None = None
        self.fault = ""

    def read(self) -> Reading | None:
        """None where it does not say, and `fault` why."""
        self.last, self.fault = None, ""
        headers = {"authorization": f"Bearer {self._key}"} if self._key else {}
        proxied = may_use_proxy(self._url)
        try:
            with httpx.Client(timeout=TIMEOUT_S, trust_env=proxied, transport=self._transport) as client:
                answer = client.get(f"{self._url}/metrics", headers=headers)
        except httpx.HTTPError as error:
            self.fault = f"{self._url} does not answer ({str(error) or type(error).__name__})"
            return None
        if answer.status_code in (401, 403):
            self.fault = "figures need a key that may read /metrics, in LORA_GATEWAY_API_KEY"
        elif answer.status_code != 200:
            self.fault = f"{self._url}/metrics answers {answer.status_code}"
        else:
            try:
                self.last = read_metrics(answer.text, time.monotonic())
            except ValueError:
                self.fault = f"what {self._url}/metrics answers is no gateway's figures"
        return self.last

    def since(self, before: Reading | None) -> tuple[Figures, str]:
        """What happened since then, and why nothing is known where that is so."""
        now = self.read()
        return (Figures() if now is None or before is None else figures_between(before, now)), self.fault


def table_of(seen: Overview, figures: Figures, why: str, width: int) -> RenderableType:
    """Engines above, tasks below, in `width` characters; why there are no figures, where there are none."""
    parts: list[RenderableType] = []
    if seen.url:
        parts.append(Text(f"gateway {seen.url}"))
    parts.append(
        _engines(seen.snapshot.engines) if seen.snapshot.engines else Text("no engine was started here")
    )
    versions = {name: shares(task) for name, task in seen.snapshot.tasks.items()}
    if versions or figures.tasks:
        parts.append(_tasks(versions, figures, width))
    if why:
        parts.append(Text(why, style="yellow"))
    return Group(*parts)


def _engines(engines: list[EngineStatus]) -> Table:
    table = Table(box=box.SIMPLE_HEAD)
    for heading in ("engine", "state"):
        table.add_column(heading, no_wrap=True)
    table.add_column("memory", justify="right", no_wrap=True)
    table.add_column("what it does", overflow="fold")
    for engine in engines:
        held = engine.memory_bytes if engine.pid else None
        memory = f"{held / GIB:.1f} GiB" if held else "-"
        doing = engine.stage or engine.reason or (f"{len(engine.loaded)} adapters" if engine.loaded else "")
        state = Text(engine.state, style=COLOURS.get(engine.state, ""))
        table.add_row(engine.name, state, memory, doing)
    return table


def _tasks(versions: Mapping[str, str], figures: Figures, width: int) -> Table:
    """As many columns as there is room for, those that say most first."""
    rows = {name: _cells(figures.tasks.get(name, EMPTY), versions.get(name, "")) for name in versions}
    rows |= {name: _cells(one, "") for name, one in figures.tasks.items() if name not in versions}
    room = width - max(map(len, rows)) - 3
    shown = [number for number, (_, needed) in enumerate(COLUMNS) if needed <= room]
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("task", no_wrap=True)
    for number in shown:
        justify: JustifyMethod = "left" if number == len(COLUMNS) - 1 else "right"
        table.add_column(COLUMNS[number][0], justify=justify, no_wrap=True, overflow="ellipsis")
    for name in sorted(rows):
        table.add_row(name, *(rows[name][number] for number in shown))
    return table


def _cells(one: TaskFigures, versions: str) -> tuple[str | Text, ...]:
    """In the order of COLUMNS."""
    return (
        f"{one.requests_per_s:.1f}",
        f"{one.tokens_per_s:.0f}",
        Text(f"{one.errors_per_s:.1f}", style="red" if one.errors_per_s else ""),
        "-" if one.first_token_s is None else f"{one.first_token_s * 1000:.0f} ms",
        str(one.in_flight),
        str(one.waiting),
        f"{one.requests:,}",
        versions,
    )
