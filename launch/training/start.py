"""The adapter that a training goes on from: whether it can, before anything heavy is loaded."""

from __future__ import annotations

import json
from pathlib import Path

from gateway.errors import NOT_JSON, ConfigError
from launch.adapters.check import check_adapter
from launch.base.lookup import find_base
from launch.base.lora_shapes import Base, describe_base
from launch.machine.files import CONFIG
from launch.training.output import RECORD


def check_start(
    start: Path, task: str, base: str, base_name: str, rank: int | None, last_layers: int | None
) -> None:
    """Raises ConfigError for what cannot be served either, and for a rank or layers that it does not have."""
    try:
        described = describe_base(base, base_name, find_base(base).config)
    except ConfigError:  # not here: its shapes are not known, and loading it says the rest
        described = Base(base, base_name, None, {})
    found = check_adapter(task, start, described, key="--start")
    if rank not in (None, found.rank):
        raise ConfigError("--rank", str(rank), f"{start} has rank {found.rank}; leave --rank out to go on so")
    own = json.loads((start / CONFIG).read_bytes()).get("layers_to_transform")
    layers = len(own) if isinstance(own, list) else described.layers
    if last_layers not in (None, layers):
        mend = f"{start} adapts {layers or 'all'}; leave --last-layers out to go on so"
        raise ConfigError("--last-layers", str(last_layers), mend)


def other_system(start: Path, system: str | None) -> str:
    """What to say where the adapter was trained with another system prompt than this one; else nothing."""
    try:
        record = json.loads((start / RECORD).read_bytes())
    except (OSError, *NOT_JSON):
        return ""
    if not isinstance(record, dict) or record.get("system", system) == system:
        return ""
    before = f"the system prompt {record['system']!r}" if record["system"] else "no system prompt"
    now = f"with {system!r}" if system else "without one"
    return f"{start} was trained with {before}; it goes on {now}"
