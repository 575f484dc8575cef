"""The configuration under test: the given one with adapters added, ports and state of its own."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from pydantic import JsonValue

from gateway.config.document import (
    ADAPTER_VARIABLE,
    VARIABLE,
    Config,
    PipelineConfig,
    TaskConfig,
    environment,
    load_config,
)
from launch.machine.ports import free_port
from launch.supervisor.tenancy.issued_keys import digest_of

HOST = "127.0.0.1"
ENGINE_PORT = 8140
GATEWAY_PORT = 8190
KEY = "bench-key-of-a-stack-on-loopback-that-lives-for-one-run"
EXTRA_TASK = "bench-{}"


def load_given(path: Path, *, dummy: bool, placeholder: Path) -> Config:
    """The configuration as it is served; with `dummy`, an adapter's path that is not set is no error.

    Raises ConfigError.
    """
    if not dummy:
        return load_config(path)
    known = environment()
    try:
        text = path.read_text(encoding="utf-8")
    except OSError:
        text = ""  # load_config says what is wrong with it
    return load_config(path, {**placeholders(text, placeholder), **known})


def placeholders(text: str, placeholder: Path) -> dict[str, str]:
    """A value for each `${…_ADAPTER_PATH}` in a configuration's text."""
    # One with a default of its own needs none.
    named = {match[1] for match in VARIABLE.finditer(text) if match[2] is None}
    return {name: str(placeholder) for name in named if ADAPTER_VARIABLE.match(name)}


def extra_tasks(config: Config, adapters_wanted: int) -> list[str]:
    """Names of the tasks to add, so that there are `adapters_wanted`."""
    missing = max(0, adapters_wanted - len(config.tasks))
    return [EXTRA_TASK.format(number) for number in range(1, missing + 1)]


def under_test(
    config: Config,
    adapters: Mapping[str, Path],
    *,
    state_dir: Path,
    gateway_port: int | None = None,
    load_format: str | None = None,
    pipelines: Mapping[str, PipelineConfig] | None = None,
) -> Config:
    """`config` with the tasks of `adapters` and no others, its gateway on the first port that is free.

    Its engines look for theirs from ENGINE_PORT up, as every start does.

    A task that `config` has keeps its contract. `pipelines` default to none, for theirs may name tasks that
    are left out here. Raises ConfigError where no port is free.
    """
    gateway_port = gateway_port or free_port("gateway.port", HOST, GATEWAY_PORT)
    tasks: dict[str, TaskConfig] = {}
    for name, folder in adapters.items():
        known = config.tasks.get(name)
        tasks[name] = (
            known.model_copy(update={"adapter": folder})
            if known is not None
            else TaskConfig.model_validate({"adapter": folder, "description": "random weights"})
        )
    base = config.base.model_copy(update={"load_format": load_format or config.base.load_format})
    gateway = config.gateway.model_copy(update={"host": HOST, "port": gateway_port})
    engine = config.engine.model_copy(update={"port": ENGINE_PORT})
    changed = {
        "base": base,
        "tasks": tasks,
        "pipelines": dict(pipelines or {}),
        "gateway": gateway,
        "engine": engine,
        "state_dir": state_dir,
    }
    return config.model_copy(update=changed)


def document_of(config: Config, key: str) -> dict[str, JsonValue]:
    """What `load_config` reads back as `config`; `key` opens the gateway."""
    document: dict[str, JsonValue] = config.model_dump(mode="json", by_alias=True)
    own = {name: one.model_dump(mode="json") for name, one in config.keys.items()}
    return document | {"keys": {**own, "bench": {"sha256": digest_of(key)}}}


def write_config(config: Config, path: Path, key: str) -> None:
    """As JSON, which YAML's reader takes."""
    path.write_text(json.dumps(document_of(config, key), indent=1) + "\n", encoding="utf-8")


def environment_of(config: Config, env: Mapping[str, str]) -> dict[str, str]:
    """`env` with every `<TASK>_ADAPTER_PATH` as in `config`: one from a shell or .env would win over it."""
    own = {
        f"{name.upper().replace('-', '_')}_ADAPTER_PATH": str(task.adapter)
        for name, task in config.tasks.items()
    }
    return {**{k: v for k, v in env.items() if not ADAPTER_VARIABLE.match(k)}, **own}
