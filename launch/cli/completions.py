"""Names that a shell completes: models, tasks, versions and keys, of what runs here or is configured.

A shell asks at each press of a key, so files alone are read, and what is wrong with them only means that
nothing is completed.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import typer

from gateway.config.document import Config, load_config
from gateway.config.snapshot import FILE, Snapshot, read_snapshot
from gateway.errors import LoraGatewayError
from launch.planning.found_config import default_config


def models(context: typer.Context) -> list[str]:
    """What may be asked by name: tasks, pipelines and models; empty where nothing is known."""
    config, snapshot = _here(context)
    named = config.models if config else ()
    return _names(snapshot.tasks, snapshot.pipelines, named)


def tasks(context: typer.Context) -> list[str]:
    """The tasks of the configuration and of the running gateway; empty where nothing is known."""
    config, snapshot = _here(context)
    return _names(snapshot.tasks, config.tasks if config else ())


def versions(context: typer.Context) -> list[str]:
    """Of the task that is named before."""
    task = _here(context)[1].tasks.get(str(context.params.get("task")))
    return [one.id for one in task.versions] if task else []


def keys(context: typer.Context) -> list[str]:
    """Of the configuration and made by command."""
    config, snapshot = _here(context)
    return _names(snapshot.keys, snapshot.issued_keys, config.keys if config else ())


def engines(context: typer.Context) -> list[str]:
    """Those that there are now."""
    return [one.name for one in _here(context)[1].engines]


def _here(context: typer.Context) -> tuple[Config | None, Snapshot]:
    """By the options that stand before."""
    given, folder = (context.params.get(name) for name in ("config", "state_dir"))
    config = None
    with suppress(LoraGatewayError, OSError):
        config = load_config(Path(given) if given else default_config())
    if folder is None and config is not None:
        folder = config.state_dir
    with suppress(LoraGatewayError, OSError):
        found = read_snapshot(Path(os.path.expanduser(folder)) / FILE) if folder else None
        return config, found or Snapshot()
    return config, Snapshot()


def _names(*groups: Iterable[str]) -> list[str]:
    """Each once, in their order."""
    return list(dict.fromkeys(name for group in groups for name in group if name))
