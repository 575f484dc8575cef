"""`lora-gateway placement`: which engine has which adapters, why, and what was moved."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from launch.cli.options import DEMO_CONFIG, ConfigOption, JsonOption, StateOption, control_of, show
from launch.cli.task_text import columns, moment
from launch.supervisor.control_client import Document

SHOWN_MOVES = 10


def placement_command(
    config: ConfigOption = DEMO_CONFIG, state_dir: StateOption = None, as_json: JsonOption = False
) -> None:
    """Which engine has which adapters, why there, and what was moved of late."""
    document = control_of(config, state_dir).ask("GET", "/placement")
    show(document, as_json, lambda: _lines(document))


def _lines(document: Document) -> Iterator[str]:
    if document["planned"]:
        yield (
            f"policy {document['policy']}: each adapter on {document['min_replicas']} or more engines, as "
            f"its traffic needs; {document['moves_left']} moves may be made this minute"
        )
    else:
        yield f"policy {document['policy']}: every adapter on every engine"
    rows = [
        (one["name"], one["state"], f"{len(one['adapters'])}/{one['slots'] or '-'}", _changing(one))
        for one in document["engines"]
    ]
    yield from ("", *columns(("ENGINE", "STATE", "ADAPTERS/SLOTS", ""), rows))
    adapters = [
        (one["id"], f"{one['tokens_per_s']:,.1f}", ", ".join(one["loaded_on"]) or "none yet", one["why"])
        for one in document["adapters"]
    ]
    if adapters:
        yield from ("", *columns(("ADAPTER", "TOKENS/S", "ON", "WHY"), adapters))
    moves = [
        (moment(one["at"]), one["id"], f"{one['did']} on {one['engine']}", one["why"])
        for one in document["moves"][-SHOWN_MOVES:]
    ]
    if moves:
        yield from ("", *columns(("WHEN", "ADAPTER", "WAS", "WHY"), moves))


def _changing(engine: dict[str, Any]) -> str:
    parts = [f"{name}: {', '.join(engine[name])}" for name in ("coming", "leaving") if engine[name]]
    return "; ".join(parts)
