"""What `configure_models` was asked for: a gateway that runs, or a configuration for a stack of our own."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gateway.client import concepts
from gateway.client.calls import JsonObject
from gateway.client.errors import InvalidArgument, adapter_variable, unknown_argument
from gateway.client.transport import DEFAULT_URL, Target, target_of
from gateway.config.settings import DEMO_BASE, BaseConfig, Config
from gateway.errors import ConfigError

ADAPTER_PATH = "_adapter_path"
AUTO_UNLOAD = "15m"
"""`auto_unload=True`: the base is unloaded after so long without a request; the next one loads it again."""
STATE_DIR = Path(".state/python")
SECTIONS = ("adapters", "engine", "gateway")
"""Sections of the configuration that are taken as mappings."""
OF_THE_BASE = tuple(name for name in BaseConfig.model_fields if name not in ("model", "idle_unload"))

CONTRACTS: Mapping[str, JsonObject] = {
    concepts.EXTRACTING: {
        "description": "groups a list of terms into concepts",
        "system": "Group the terms into concepts.",
        "defaults": {"temperature": 0, "max_tokens": 1024},
    },
    concepts.NAMING: {
        "description": "names one concept",
        "system": "Name the concept.",
        "defaults": {"temperature": 0, "max_tokens": 32},
    },
}
"""What the tasks of the quick reference are asked, unless `tasks` says otherwise."""


@dataclass(frozen=True)
class Attach:
    """A gateway that somebody else runs."""

    target: Target


@dataclass(frozen=True)
class Start:
    """A stack of our own."""

    document: JsonObject
    """The configuration."""
    state_dir: Path
    adapters: Mapping[str, str] = field(default_factory=dict)
    """Task → folder, as the arguments gave them: they win over `<TASK>_ADAPTER_PATH` and `.env`."""


def wanted(
    env: Mapping[str, str],
    /,
    *,
    base_model_path: str | Path | None = None,
    url: str | None = None,
    api_key: str | None = None,
    state_dir: str | Path | None = None,
    auto_unload: bool | str = False,
    tasks: Mapping[str, Mapping[str, Any]] | None = None,
    pipelines: Mapping[str, Mapping[str, Any]] | None = None,
    **settings: object,
) -> Attach | Start:
    """Check the arguments, as far as that needs no start. Raises InvalidArgument.

    `env` is the environment; for a stack over `.env`, as it sees it, where adapters may stand too.
    """
    given = {name: value for name, value in settings.items() if value is not None}
    adapters = {
        name.removesuffix(ADAPTER_PATH): value
        for name, value in given.items()
        if name.endswith(ADAPTER_PATH) and name != ADAPTER_PATH
    }
    for name in given:
        if name.removesuffix(ADAPTER_PATH) not in adapters and name not in (*OF_THE_BASE, *SECTIONS):
            raise unknown_argument(name, [*OF_THE_BASE, *SECTIONS, *_NAMED, "<task>_adapter_path"])
    extra = [*given, *(["tasks"] if tasks else []), *(["pipelines"] if pipelines else [])]
    if base_model_path is None:
        extra += ["auto_unload"] if auto_unload else []
        extra += ["state_dir"] if state_dir is not None else []
        if extra:
            also = "url attaches to a gateway that runs, which has its own settings" if url else "or give url"
            raise InvalidArgument("base_model_path", f"is needed to start a stack with {extra[0]}; {also}")
        where = url or env.get("LORA_GATEWAY_URL") or DEFAULT_URL
        return Attach(target_of(where, api_key or env.get("LORA_GATEWAY_API_KEY")))
    if url is not None or api_key is not None:
        raise InvalidArgument(
            "url" if url else "api_key", "is for a gateway that runs; base_model_path starts one"
        )
    folders = {task: _folder(f"{task}{ADAPTER_PATH}", value) for task, value in adapters.items()}
    document = _document(base_model_path, auto_unload, given, folders, tasks or {}, pipelines, env)
    return Start(document, Path(os.path.expanduser(state_dir or STATE_DIR)).absolute(), folders)


def environment_target() -> Target | None:
    """The gateway that LORA_GATEWAY_URL names. Raises InvalidArgument."""
    url = os.environ.get("LORA_GATEWAY_URL")
    return target_of(url, os.environ.get("LORA_GATEWAY_API_KEY")) if url else None


_NAMED = (*(wanted.__kwdefaults__ or ()), "progress")


def _document(
    base: str | Path,
    auto_unload: bool | str,
    given: Mapping[str, object],
    folders: Mapping[str, str],
    tasks: Mapping[str, Mapping[str, Any]],
    pipelines: Mapping[str, Mapping[str, Any]] | None,
    env: Mapping[str, str],
) -> JsonObject:
    of_base = {name: given[name] for name in OF_THE_BASE if name in given}
    idle = auto_unload if isinstance(auto_unload, str) else AUTO_UNLOAD if auto_unload else "never"
    # An adapter from the environment gets its contract here, its path where the configuration is read.
    known = [name for name in CONTRACTS if name in folders or env.get(adapter_variable(name))]
    names = dict.fromkeys([*folders, *known, *tasks])
    document: JsonObject = {
        "base": {"model": _base(base), **of_base, "idle_unload": idle},
        "tasks": {
            name: {**CONTRACTS.get(name, {}), **tasks.get(name, {}), **_adapter(folders.get(name))}
            for name in names
        },
        # Any free one: several stacks may run on a machine, and `url` says which it became.
        "gateway": {"port": 0},
    }
    if pipelines is not None:
        document["pipelines"] = {name: dict(pipeline) for name, pipeline in pipelines.items()}
    elif set(CONTRACTS) <= set(names):
        document["pipelines"] = {concepts.PIPELINE: concepts.pipeline()}
    document["adapters"] = {"roots": sorted({str(Path(folder).parent) for folder in folders.values()})}
    for section in SECTIONS:
        if section in given:
            value = given[section]
            if not isinstance(value, Mapping):
                raise InvalidArgument(section, "give the section of the configuration as a mapping")
            document[section] = {**document.get(section, {}), **value}
    return document


def _adapter(folder: str | None) -> JsonObject:
    return {} if folder is None else {"adapter": folder}


def _folder(argument: str, value: object) -> str:
    """Raises InvalidArgument where there is nothing."""
    if not isinstance(value, (str, Path)):
        raise InvalidArgument(argument, f"{value!r} is no path")
    path = Path(os.path.expanduser(value)).absolute()
    if not path.exists():
        raise InvalidArgument(argument, f"{path} does not exist; give the adapter's folder")
    return str(path)


def _base(value: str | Path) -> str:
    """A folder that exists, the demo's base, or a hub's `owner/name`. Raises InvalidArgument."""
    text = str(value)
    path = Path(os.path.expanduser(text))
    if path.exists():
        return str(path.absolute())
    if text == DEMO_BASE:
        return text
    owner, _, name = text.partition("/")
    if isinstance(value, Path) or text.startswith((".", "/", "~")) or not owner or not name or "/" in name:
        mend = f"give a folder, a hub id such as Qwen/Qwen2.5-14B-Instruct, or {DEMO_BASE!r}"
        raise InvalidArgument("base_model_path", f"{path} does not exist; {mend}")
    return text


def check(file: Path, env: Mapping[str, str]) -> Config:
    """The configuration as the stack will read it from `file`. Raises InvalidArgument."""
    try:
        from gateway.config.document import load_config
    except ImportError as error:
        raise not_whole(error) from error
    try:
        return load_config(file, env)
    except ConfigError as error:
        raise InvalidArgument(error.key, str(error).removeprefix(f"{error.key}: ")) from error


def stack_environment() -> dict[str, str]:
    """The environment over `.env`, as the stack will see it. Raises InvalidArgument."""
    try:
        from gateway.config.document import environment
    except ImportError as error:
        raise not_whole(error) from error
    return environment()


def not_whole(error: ImportError) -> InvalidArgument:
    """The client alone is installed."""
    return InvalidArgument(
        "base_model_path",
        f"a stack is started by the whole of lora-gateway, and {error.name} is not installed: pip install "
        "'lora-gateway[gpu]' (or [cpu]), or give url= to use a gateway that runs",
    )
