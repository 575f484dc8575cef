"""`lora-gateway usage`: tokens and requests by key, tenant, task, adapter and day."""

from __future__ import annotations

import csv
import json
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Annotated, cast

import typer

from gateway.config.document import load_config
from gateway.errors import ConfigError, InvalidRequest
from gateway.usage.report import BY, NUMBERS, SINCE, question, usage_report
from launch.__main__ import with_state_dir
from launch.cli.options import DEMO_CONFIG, ConfigOption, JsonOption, StateOption
from launch.cli.task_text import columns

Row = Mapping[str, object]


def usage_command(
    by: Annotated[str, typer.Option(help="of key, tenant, task, adapter, day, with commas between")] = BY,
    since: Annotated[str, typer.Option(help="from which day on: 30d, 24h, 2026-11-01")] = SINCE,
    as_csv: Annotated[bool, typer.Option("--csv", help="print CSV")] = False,
    config: ConfigOption = DEMO_CONFIG,
    state_dir: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Tokens and requests by key, task and so on, and what they cost; needs no launch."""
    settings = with_state_dir(load_config(config), state_dir)
    try:
        asked = question(by, since, time.time())
    except InvalidRequest as error:
        raise ConfigError(f"--{error.param}", by if error.param == "by" else since, error.message) from None
    report = usage_report(settings, asked)
    rows = cast(Sequence[Row], report["rows"])
    if as_json:
        print(json.dumps(report, indent=2))
    elif as_csv:
        _print_csv(asked.by, rows)
    elif not rows:
        print(f"nothing since {asked.since}")
    else:
        _print_table(asked.by, rows, cast(Row, report["total"]))


def _print_csv(by: Sequence[str], rows: Sequence[Row]) -> None:
    writer = csv.writer(sys.stdout, lineterminator="\n")
    names = (*by, *NUMBERS)
    writer.writerow(names)
    writer.writerows([row[name] for name in names] for row in rows)


def _print_table(by: Sequence[str], rows: Sequence[Row], total: Row) -> None:
    """Columns without a figure are left out, but for the plainest."""
    shown = [name for name in NUMBERS if total[name] or name in NUMBERS[:1]]
    head = (*by, *(name.replace("_", " ") for name in shown))
    cells = [
        (*(str(row[name]) or "-" for name in by), *(_text(row[name]) for name in shown))
        for row in (*rows, {**dict.fromkeys(by, " "), by[0]: "all", **total})
    ]
    for line in columns(head, cells, figures=len(shown)):
        print(line)


def _text(figure: object) -> str:
    return f"{figure:,.4f}" if isinstance(figure, float) else f"{figure:,}"
