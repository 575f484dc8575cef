"""`lora-gateway audit`: who changed what, and who was refused."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from gateway.audit import AuditLog, Entry
from launch.cli.keys import duration_s
from launch.cli.options import DEMO_CONFIG, ConfigOption, JsonOption, StateOption, show, state_folder
from launch.cli.task_text import moment
from launch.machine.files import shorten

SHOWN = ("at", "who", "action", "status")
LONGEST_CHARS = 4000


def audit_command(
    since: Annotated[str, typer.Option(help="how far back: 90m, 24h, 30d")] = "24h",
    config: ConfigOption = DEMO_CONFIG,
    state_dir: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Commands and their outcome, and keys that were refused; needs no launch."""
    folder = state_folder(config, state_dir)
    log = AuditLog(folder)
    entries = list(log.entries(time.time() - duration_s(since, "--since")))
    nothing = [f"nothing in the last {since} in {folder}"]
    show({"entries": entries}, as_json, lambda: map(line_of, entries) if entries else nothing)


def line_of(entry: Entry) -> str:
    """One entry as a line: when, with which status, who, what, and its facts."""
    facts = " ".join(f"{name}={value}" for name, value in entry.items() if name not in SHOWN)
    at = moment(float(str(entry["at"])))
    said = f"{at}  {entry.get('status')}  {entry.get('who')}: {entry.get('action')}  {facts}".rstrip()
    return shorten(said, LONGEST_CHARS)  # a path holds what a client likes, a terminal's commands too
