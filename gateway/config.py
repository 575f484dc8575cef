"""The configuration: YAML, checked once at start; an error names the key, the value and the mend."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path

import yaml
from dotenv import dotenv_values
from pydantic import BaseModel, ValidationError

from gateway.errors import ConfigError, nearest
from gateway.settings import (
    DEMO_BASE,
    NAME,
    AdaptersConfig,
    AttachedConfig,
    BaseConfig,
    Config,
    EngineConfig,
    GatewayConfig,
    JsonObject,
    KeyConfig,
    PipelineConfig,
    StageConfig,
    TaskConfig,
)

__all__ = [
    "DEMO_BASE",
    "NAME",
    "AdaptersConfig",
    "AttachedConfig",
    "BaseConfig",
    "Config",
    "EngineConfig",
    "GatewayConfig",
    "JsonObject",
    "KeyConfig",
    "PipelineConfig",
    "StageConfig",
    "TaskConfig",
    "load_config",
    "with_gateway",
]

ADAPTER_VARIABLE = re.compile(r"^([A-Z][A-Z0-9_]*)_ADAPTER_PATH$")
KEY_VARIABLE = re.compile(r"^([A-Z][A-Z0-9_]*)_KEY_SHA256$")
_UNION_BRANCH = re.compile(r"^(constrained-|literal\[|function-)")
VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}")


def load_config(path: Path, env: Mapping[str, str] | None = None) -> Config:
    """Read, complete and check a configuration.

    `env` defaults to the process's environment over a `.env` in the working directory. Relative paths are
    resolved against the configuration's folder; `<TASK>_ADAPTER_PATH` and `state_dir` against the working
    directory, as a shell user expects. Raises ConfigError.
    """
    if env is None:
        from_file = {key: value for key, value in dotenv_values(".env").items() if value is not None}
        env = {**from_file, **os.environ}
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError("--config", str(path), f"cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError("--config", str(path), "is not UTF-8 text") from error
    try:
        document = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError("--config", str(path), f"is not valid YAML: {_one_line(str(error))}") from error
    if not isinstance(document, dict):
        raise ConfigError("--config", str(path), "must be a mapping with at least the key base")
    document = {str(key): _substitute(value, env, str(key)) for key, value in document.items()}
    _add_adapters_from(env, document)
    _add_keys_from(env, document)
    root = path.resolve().parent
    _resolve(document, root)
    try:
        config = Config.model_validate(document)
    except ValidationError as error:
        raise _first_problem(error, str(path)) from error
    return config


def with_gateway(config: Config, changes: Mapping[str, object]) -> Config:
    """The configuration with other settings of `gateway` where not None, checked. Raises ConfigError."""
    given = {key: value for key, value in changes.items() if value is not None}
    document = config.model_dump(by_alias=True)
    document["gateway"].update(given)
    try:
        return Config.model_validate(document)
    except ValidationError as error:
        raise _first_problem(error, "gateway") from error


def _substitute(value: object, env: Mapping[str, str], key: str) -> object:
    if isinstance(value, dict):
        return {str(k): _substitute(v, env, f"{key}.{k}" if key else str(k)) for k, v in value.items()}
    if isinstance(value, list):
        return [_substitute(v, env, f"{key}[{i}]") for i, v in enumerate(value)]
    if not isinstance(value, str):
        return value

    def replaced(match: re.Match[str]) -> str:
        found = env.get(match[1]) or match[2]
        if found is None:
            raise ConfigError(key, match[0], f"set {match[1]} in the environment or in .env")
        return found

    return VARIABLE.sub(replaced, value)


def _add_adapters_from(env: Mapping[str, str], document: dict[str, object]) -> None:
    tasks = document.setdefault("tasks", {})
    if not isinstance(tasks, dict):
        return  # pydantic says what is wrong with it
    for variable, value in env.items():
        match = ADAPTER_VARIABLE.match(variable)
        if not match or not value:
            continue
        wanted = match[1].lower()
        name = next((task for task in tasks if task.lower().replace("-", "_") == wanted), wanted)
        task = tasks.setdefault(name, {})
        if isinstance(task, dict):
            task["adapter"] = str(Path(value).expanduser().absolute())


def _add_keys_from(env: Mapping[str, str], document: dict[str, object]) -> None:
    """`TEAM_A_KEY_SHA256` gives the configuration's key `team-a` its digest, or adds the key `team_a`."""
    keys = document.get("keys") or {}
    if not isinstance(keys, dict):
        return  # pydantic says what is wrong with it
    for variable, value in env.items():
        match = KEY_VARIABLE.match(variable)
        if not match or not value:
            continue
        wanted = match[1].lower()
        name = next((key for key in keys if str(key).lower().replace("-", "_") == wanted), wanted)
        key = keys.setdefault(name, {})
        if isinstance(key, dict):
            key["sha256"] = value
    document["keys"] = keys


def _resolve(document: dict[str, object], root: Path) -> None:
    tasks = document.get("tasks")
    for name, task in tasks.items() if isinstance(tasks, dict) else ():
        if isinstance(task, dict):
            if isinstance(task.get("adapter"), str):
                task["adapter"] = str(root / Path(task["adapter"]).expanduser())
            _read_schema(task, f"tasks.{name}.schema", root)
    pipelines = document.get("pipelines")
    for name, pipeline in pipelines.items() if isinstance(pipelines, dict) else ():
        stages = pipeline.get("stages") if isinstance(pipeline, dict) else None
        for index, stage in enumerate(stages if isinstance(stages, list) else ()):
            if isinstance(stage, dict):
                _read_schema(stage, f"pipelines.{name}.stages[{index}].schema", root)
    base = document.get("base")
    if isinstance(base, dict) and isinstance(base.get("model"), str):
        model = base["model"]
        if model.startswith((".", "/", "~")):
            base["model"] = str((root / Path(model).expanduser()).resolve())
    adapters = document.setdefault("adapters", {})
    if isinstance(adapters, dict):
        roots = adapters.get("roots")
        if isinstance(roots, list):
            adapters["roots"] = [str(root / Path(str(each)).expanduser()) for each in roots]
        elif roots is None:
            adapters["roots"] = [str(root)]
    state = document.get("state_dir", ".state")
    if isinstance(state, str):
        document["state_dir"] = str(Path(state).expanduser().absolute())


def _read_schema(holder: dict[str, object], key: str, root: Path) -> None:
    schema = holder.get("schema")
    if not isinstance(schema, str):
        return
    file = root / Path(schema).expanduser()
    try:
        holder["schema"] = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(key, schema, f"cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise ConfigError(key, schema, f"is not JSON: {error}") from error


def _first_problem(error: ValidationError, path: str) -> ConfigError:
    problems = error.errors(include_url=False)
    # A misspelt key is also a missing one; the spelling is the better advice.
    problem = next((found for found in problems if found["type"] == "extra_forbidden"), problems[0])
    location = [str(part) for part in problem["loc"] if not _UNION_BRANCH.match(str(part))]
    key = ".".join(location) or path
    if problem["type"] == "extra_forbidden":
        known = _known_keys(location[:-1])
        guess = nearest(location[-1], known)
        hint = f"did you mean {guess!r}? " if guess else ""
        return ConfigError(key, "", f"unknown key; {hint}known keys: {', '.join(known)}")
    if problem["type"] == "missing":
        return ConfigError(key, "", "is required")
    message = problem["msg"].removeprefix("Value error, ")
    value = problem.get("input")
    secret = location[:1] == ["keys"]
    shown = "" if secret or isinstance(value, (dict, list, BaseModel)) else value
    return ConfigError(key, shown, message)


def _known_keys(parents: list[str]) -> list[str]:
    """The keys that the model at `parents` has, by its YAML name."""
    sections: dict[str, type[BaseModel]] = {
        "base": BaseConfig,
        "tasks": TaskConfig,
        "keys": KeyConfig,
        "gateway": GatewayConfig,
        "engine": EngineConfig,
        "engines": AttachedConfig,
        "adapters": AdaptersConfig,
        "pipelines": StageConfig if "stages" in parents else PipelineConfig,
    }
    model = sections.get(parents[0], Config) if parents else Config
    return [field.alias or name for name, field in model.model_fields.items()]


def _one_line(text: str) -> str:
    return " ".join(text.split())
