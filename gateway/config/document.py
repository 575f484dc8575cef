"""The configuration: YAML, checked once at start; an error names the key, the value and the mend."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args, get_origin

import yaml
from dotenv import dotenv_values
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from gateway.config.gateway_settings import GatewayConfig
from gateway.config.key_settings import KeyConfig
from gateway.config.settings import (
    DEMO_BASE,
    BaseConfig,
    BatchesConfig,
    Config,
    FallbackConfig,
    FallbackReason,
    JsonObject,
    PipelineConfig,
    StageConfig,
    TaskConfig,
)
from gateway.config.strict import NAME, NAME_RULE, checked_name, plain_kinds
from gateway.errors import NOT_JSON, ConfigError, did_you_mean
from gateway.strict_yaml import read_yaml

__all__ = [
    "DEMO_BASE",
    "NAME",
    "NAME_RULE",
    "BaseConfig",
    "BatchesConfig",
    "Config",
    "FallbackConfig",
    "FallbackReason",
    "GatewayConfig",
    "JsonObject",
    "KeyConfig",
    "PipelineConfig",
    "StageConfig",
    "TaskConfig",
    "checked_name",
    "environment",
    "load_config",
    "read_config",
    "with_gateway",
    "with_sections",
]

ADAPTER_VARIABLE = re.compile(r"^([A-Z][A-Z0-9_]*)_ADAPTER_PATH$")
KEY_VARIABLE = re.compile(r"^([A-Z][A-Z0-9_]*)_KEY_SHA256$")
_FROM_ENVIRONMENT = {"tasks": (ADAPTER_VARIABLE, "adapter"), "keys": (KEY_VARIABLE, "sha256")}
"""Sections, and which setting of an entry the variable gives that names the entry."""
# Pydantic writes into an error's place which branch of a union it tried, as if that were a key.
_UNION_BRANCH = re.compile(r"^(constrained-|literal\[|function-|list\[|plain\[|mapping\[)")
_FORMS = {"dict_type": "a mapping", "model_type": "a mapping", "list_type": "a list", "path_type": "a path"}
"""What pydantic says of Python's types, of YAML's."""
VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}")
_OTHER_VARIABLE = re.compile(r"\$\{[^{}]*\}")
"""As other programs write it, where it is the whole of a value: `${env:NAME}`, `${NAME:?why}`."""
_NAMED_BARE = re.compile(r"\$[A-Za-z_]\w*(?:/.*)?|\{\{.*\}\}|%\w+%.*")
_PLACES = ("model", "adapter", "state_dir", "folder", "schema", "cert", "key")
"""Keys that hold no prose, in which such a word could be meant as it stands."""


def load_config(path: Path, env: Mapping[str, str] | None = None) -> Config:
    """Read, complete and check a configuration.

    `env` defaults to the process's environment over a `.env` in the working directory. Relative paths are
    resolved against the configuration's folder; `<TASK>_ADAPTER_PATH` and `state_dir` against the working
    directory, as a shell user expects. Raises ConfigError, the first of `read_config`'s.
    """
    config, problems = read_config(path, env)
    if problems or config is None:
        raise problems[0]
    return config


def read_config(path: Path, env: Mapping[str, str] | None = None) -> tuple[Config | None, list[ConfigError]]:
    """As `load_config`, with everything that is wrong; None where too little is left to be checked.

    A variable that is not set stays in its place as `${VAR}`, a schema that cannot be read is left out.
    """
    try:
        env = environment() if env is None else env
        raw = _read_document(path)
    except ConfigError as error:
        return None, [error]
    problems: list[ConfigError] = []
    given = {str(key): value for key, value in raw.items() if value is not None}  # all below may be a comment
    try:
        document = {key: _substitute(value, env, key, problems) for key, value in given.items()}
    except RecursionError:
        return None, [ConfigError("--config", str(path), "has an anchor (&) within what it stands for")]
    for section in _FROM_ENVIRONMENT:
        _add_from(env, document, section)
    root = path.resolve().parent
    _resolve(document, root, problems)
    try:
        return Config.model_validate(document), problems
    except ValidationError as error:
        # A variable that is not set stands there as text, of which pydantic would complain once more.
        known = {problem.key for problem in problems}
        problems += [found for found in _problems(error, str(path)) if found.key not in known]
        return None, problems


def environment() -> dict[str, str]:
    """The process's environment over a `.env` in the working directory. Raises ConfigError."""
    try:
        found = dotenv_values(".env", encoding="utf-8-sig")  # some editors write a mark before the first name
    except (OSError, UnicodeDecodeError) as error:
        mend = "cannot be read" if isinstance(error, OSError) else "is not UTF-8 text; save it as UTF-8"
        raise ConfigError(".env", str(Path(".env").absolute()), mend, code="config_file") from error
    from_file = {key: value for key, value in found.items() if value is not None}
    return {**from_file, **os.environ}


def _read_document(path: Path) -> dict[object, object]:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        mend = "lora-gateway init writes one, --config names one, lora-gateway demo needs none"
        raise ConfigError("--config", str(path), f"cannot be read: no such file; {mend}") from error
    except OSError as error:
        mend = "; name the file in it" if path.is_dir() else ""
        raise ConfigError("--config", str(path), f"cannot be read: {error.strerror}{mend}") from error
    except UnicodeDecodeError as error:
        raise ConfigError("--config", str(path), "is not UTF-8 text; save it as UTF-8") from error
    try:
        document = read_yaml(text)
    except yaml.YAMLError as error:
        said = " ".join(str(error).split())
        mend = "; write spaces where the tab is" if r"'\t'" in said else ""
        raise ConfigError("--config", str(path), f"is not valid YAML: {said}{mend}") from error
    except RecursionError as error:
        raise ConfigError("--config", str(path), "is nested too deeply") from error
    if not isinstance(document, dict):
        raise ConfigError("--config", str(path), "must be a mapping with at least the key base")
    return document


def with_gateway(config: Config, changes: Mapping[str, object]) -> Config:
    """The configuration with other settings of `gateway` where not None, checked. Raises ConfigError."""
    given = {key: value for key, value in changes.items() if value is not None}
    gateway = {**config.gateway.model_dump(by_alias=True), **given}
    return with_sections(config, {"gateway": gateway}) if given else config


def with_sections(config: Config, sections: Mapping[str, object]) -> Config:
    """The configuration with other sections, checked together. Raises ConfigError."""
    try:  # the others are taken as they are
        return Config.model_validate({**dict(iter(config)), **sections})
    except ValidationError as error:
        raise _problems(error, ", ".join(sections))[0] from error


def _substitute(value: object, env: Mapping[str, str], key: str, problems: list[ConfigError]) -> object:
    if isinstance(value, dict):
        return {
            str(k): _substitute(v, env, f"{key}.{k}" if key else str(k), problems) for k, v in value.items()
        }
    if isinstance(value, list):
        return [_substitute(v, env, f"{key}[{i}]", problems) for i, v in enumerate(value)]
    if not isinstance(value, str):
        return value
    bare = key.rpartition(".")[2] in _PLACES and _NAMED_BARE.fullmatch(value)
    if bare or (_OTHER_VARIABLE.fullmatch(value) and not VARIABLE.fullmatch(value)):
        problems.append(ConfigError(key, value, "write ${NAME} or ${NAME:-default}"))
        return value

    def replaced(match: re.Match[str]) -> str:
        if match[2] and "${" in match[2]:
            problems.append(
                ConfigError(key, value, "a default cannot hold another variable; write its value")
            )
        # Set to nothing counts as not set, as with a shell's `:-`: a line `KEY=` of an .env says no more.
        found = env.get(match[1]) or match[2]
        if found is None:
            problems.append(ConfigError(key, match[0], f"set {match[1]} in the environment or in .env"))
            return match[0]
        return found

    return VARIABLE.sub(replaced, value)


def _add_from(env: Mapping[str, str], document: dict[str, object], section: str) -> None:
    """`TEAM_A_KEY_SHA256` gives the configuration's key `team-a` its digest, or adds the key `team_a`; a
    task's adapter path likewise.
    """
    pattern, setting = _FROM_ENVIRONMENT[section]
    entries = document.setdefault(section, {})
    if not isinstance(entries, dict):
        return  # pydantic says what is wrong with it
    for variable, value in env.items():
        match = pattern.match(variable)
        if not match or not value:
            continue
        wanted = match[1].lower()
        name = next((known for known in entries if known.lower().replace("-", "_") == wanted), wanted)
        if entries.get(name) is None:
            entries[name] = {}
        if isinstance(entry := entries[name], dict):
            place = setting == "adapter" and "://" not in value
            entry[setting] = str(_at_home(value).absolute()) if place else value


def _at_home(place: str) -> Path:
    """With `~` as the user's folder; of a user that does not exist it stays, and no file is found there."""
    return Path(os.path.expanduser(place))


def _resolve(document: dict[str, object], root: Path, problems: list[ConfigError]) -> None:
    tasks = document.get("tasks")
    for name, task in tasks.items() if isinstance(tasks, dict) else ():
        if isinstance(task, dict):
            if isinstance(adapter := task.get("adapter"), str):
                task["adapter"] = str(root / _at_home(adapter))
                if "://" in adapter:
                    later = f"lora-gateway adapters add {name} {adapter}"
                    mend = f"is no folder; name one, or leave the task out and add it once all runs: {later}"
                    problems.append(ConfigError(f"tasks.{name}.adapter", adapter, mend))
            _read_schema(task, f"tasks.{name}.schema", root, problems)
    pipelines = document.get("pipelines")
    for name, pipeline in pipelines.items() if isinstance(pipelines, dict) else ():
        stages = pipeline.get("stages") if isinstance(pipeline, dict) else None
        for index, stage in enumerate(stages if isinstance(stages, list) else ()):
            if isinstance(stage, dict):
                _read_schema(stage, f"pipelines.{name}.stages[{index}].schema", root, problems)
    base = document.get("base")
    if isinstance(base, dict) and isinstance(model := base.get("model"), str) and model:
        place = root / _at_home(model)
        # A folder that is here goes before the hub, as it does with transformers and vLLM.
        if model.startswith((".", "/", "~")) or os.path.isfile(place / "config.json"):
            # A zero byte is in no path, and whoever opens it says so.
            base["model"] = str(place if "\0" in str(place) else place.resolve())
    gateway = document.get("gateway")
    tls = gateway.get("tls") if isinstance(gateway, dict) else None
    if isinstance(tls, dict):
        for key, place in tls.items():
            if isinstance(place, str):
                tls[key] = str(root / _at_home(place))
    shared = document.get("shared")
    if isinstance(shared, dict) and isinstance(shared.get("folder"), str):
        shared["folder"] = str(root / _at_home(shared["folder"]))
    adapters = document.setdefault("adapters", {})
    if isinstance(adapters, dict):
        roots = adapters.get("roots")
        if isinstance(roots, list):
            adapters["roots"] = [str(root / _at_home(str(each))) for each in roots]
        elif roots is None:
            adapters["roots"] = [str(root)]
    state = document.get("state_dir", ".state")
    if isinstance(state, str):
        document["state_dir"] = str(_at_home(state).absolute())


def _read_schema(holder: dict[str, object], key: str, root: Path, problems: list[ConfigError]) -> None:
    schema = holder.get("schema")
    if not isinstance(schema, str):
        return
    file = root / _at_home(schema)
    holder["schema"] = None
    try:
        holder["schema"] = json.loads(file.read_bytes())  # with the mark of UTF-8 that some editors write
    except OSError as error:
        problems.append(ConfigError(key, schema, f"cannot be read: {error.strerror}"))
    except NOT_JSON as error:
        problems.append(ConfigError(key, schema, f"is not JSON: {error}"))


def _problems(error: ValidationError, path: str) -> list[ConfigError]:
    """One for each key; a misspelt key is also a missing one, and its spelling is the better advice."""
    found = sorted(error.errors(include_url=False), key=lambda problem: problem["type"] != "extra_forbidden")
    by_key: dict[str, ConfigError] = {}
    for problem in found:
        mended = _problem(problem, path)
        by_key.setdefault(mended.key, mended)
    return list(by_key.values())


def _problem(problem: ErrorDetails, path: str) -> ConfigError:
    """Of the document's form; what its parts lead to is looked at later, and has codes of its own."""
    location = [str(part) for part in problem["loc"] if not _UNION_BRANCH.match(str(part))]
    key = ".".join(location) or path
    if problem["type"] == "extra_forbidden":
        known = _known_keys(location[:-1])
        hint = did_you_mean(location[-1], known, "did you mean '{}'? ")
        return ConfigError(key, "", f"unknown key; {hint}known keys: {', '.join(known)}", code="setting")
    if problem["type"] == "missing":
        return ConfigError(key, "", "is required", code="setting")
    message = problem["msg"].removeprefix("Value error, ")
    if form := _FORMS.get(problem["type"]):
        known = _known_keys(location)
        other = " or a mapping" if known and form == "a list" else ""
        message = f"must be {form}{other}{'; known keys: ' if known else ''}{', '.join(known)}"
    value = problem.get("input")
    # What stands there by mistake may be a key or a password.
    secret = location[:1] == ["keys"] or location[-1:] in (["api_key_env"], ["redis"])
    shown = "" if secret or isinstance(value, (dict, list, BaseModel)) else value
    return ConfigError(key, shown, message, code="setting")


def _known_keys(parents: list[str]) -> list[str]:
    """The keys that the section at `parents` has, by their YAML names."""
    kinds = plain_kinds(Config)
    for part in parents:
        kinds = [inner for kind in kinds for inner in _kinds_inside(kind, part)]
    return [name for model in kinds for name in _fields(model)]


def _kinds_inside(kind: Any, part: str) -> list[Any]:
    """What may stand under the key or the number `part` of a `kind`."""
    arguments = get_args(kind)
    if get_origin(kind) is dict:
        return plain_kinds(arguments[1])
    if get_origin(kind) is list:
        return plain_kinds(arguments[0]) if part.isdigit() else []
    return plain_kinds(_fields(kind).get(part))


def _fields(kind: Any) -> dict[str, Any]:
    """A section's keys, and what each may hold; none of what is no section."""
    if not (isinstance(kind, type) and issubclass(kind, BaseModel)):
        return {}
    return {field.alias or name: field.annotation for name, field in kind.model_fields.items()}
