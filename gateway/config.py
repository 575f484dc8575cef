"""The configuration: YAML, checked once at start; an error names the key, the value and the mend."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

import yaml
from dotenv import dotenv_values
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    ValidationError,
    field_validator,
    model_validator,
)

from gateway.errors import ConfigError, nearest

DEMO_BASE = "demo:smollm2-135m-instruct"
ADAPTER_VARIABLE = re.compile(r"^([A-Z][A-Z0-9_]*)_ADAPTER_PATH$")
KEY_VARIABLE = re.compile(r"^([A-Z][A-Z0-9_]*)_KEY_SHA256$")
DIGEST = re.compile(r"^[0-9a-f]{64}$")
LOOPBACK = ("127.0.0.1", "::1", "localhost")
NAME = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$")
_UNION_BRANCH = re.compile(r"^(constrained-|literal\[)")
VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}")

Positive = Annotated[int, Field(gt=0)]
Seconds = Annotated[float, Field(gt=0)]
JsonObject = dict[str, JsonValue]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class BaseConfig(_Strict):
    """The base model, loaded once."""

    name: str = Field("base", description="public model name of the base without an adapter")
    model: str = Field(description=f"hub id, folder, or {DEMO_BASE!r} for the demo's base in the cache")
    dtype: Literal["auto", "bfloat16", "float16", "float32"] = Field("auto", description="weights' type")
    gpu_memory_utilization: float = Field(0.9, gt=0, le=1, description="share of the card's memory; GPU only")
    tensor_parallel_size: Positive = Field(1, description="cards that one engine is split over")
    max_loras: Positive | Literal["auto"] = Field("auto", description="adapters in one batch; auto: all")
    max_lora_rank: Positive | Literal["auto"] = Field("auto", description="auto: the adapters' largest rank")
    max_model_len: Positive | None = Field(None, description="context in tokens; default: the model's own")
    max_num_seqs: Positive | None = Field(None, description="requests in one batch; default: the engine's")
    enforce_eager: bool = Field(False, description="no compilation and no CUDA graphs")
    kv_cache_gib: float | None = Field(None, gt=0, description="key-value cache in GiB; CPU only")
    idle_unload: Literal["never"] = Field("never", description="never: the base stays loaded")
    load_format: str | None = Field(None, description="the engine's --load-format, such as dummy")


class TaskConfig(_Strict):
    """A public model name: an adapter and its prompt contract."""

    adapter: Path = Field(description="folder in peft's format, safetensors only")
    description: str = Field("", description="shown in /v1/models")
    system: str | None = Field(None, description="system prompt where the client sends none")
    defaults: JsonObject = Field(default_factory=dict, description="sampling where the client sets none")
    schema_: JsonObject | None = Field(
        None, alias="schema", description="JSON schema of the answer, inline or a file's path"
    )
    max_in_flight: Positive | None = Field(None, description="default: gateway.max_in_flight_per_task")
    max_waiting: int | None = Field(None, ge=0, description="default: gateway.max_waiting_per_task")


class StageConfig(_Strict):
    """One stage of a pipeline."""

    id: str = Field(description="name that later stages refer to")
    task: str = Field(description="a task's name, or the base's")
    prompt: str = Field(description="sandboxed Jinja template; sees input, text, terms, item, stages")
    system: str | None = Field(None, description="system prompt; default: the task's")
    defaults: JsonObject = Field(default_factory=dict, description="sampling, over the task's own defaults")
    schema_: JsonObject | None = Field(
        None, alias="schema", description='JSON schema; {"$from": "terms"} stands for a value of the input'
    )
    for_each: str | None = Field(None, description="<stage>.<field>: run once per element of that list")
    into: str | None = Field(None, description="field of the element that takes this stage's answer")


class PipelineConfig(_Strict):
    """Stages behind one model name."""

    description: str = Field("", description="shown in /v1/models")
    stages: list[StageConfig] = Field(min_length=1, description="in order")
    max_items: Positive = Field(64, description="most elements that one fan-out may have")
    max_input_terms: Positive = Field(512, description="most terms that one input may list")
    on_error: Literal["fail", "null"] = Field(
        "fail", description="when one element fails: all, or null for it"
    )


class KeyConfig(_Strict):
    """Who may call, and what; the key itself is never written down, only its digest."""

    sha256: str = Field(description="SHA-256 of the key in hex; `lora-gateway keys new` prints one")
    tasks: list[str] | None = Field(None, description="models it may call; default: every one")

    @field_validator("sha256")
    @classmethod
    def _digest(cls, value: str) -> str:
        value = value.strip().lower()
        if not DIGEST.match(value):  # the value may be a key given by mistake: it is not repeated
            raise ValueError("must be 64 hex digits, the SHA-256 of the key: lora-gateway keys hash")
        return value


class GatewayConfig(_Strict):
    """The data plane's own settings."""

    host: str = Field("127.0.0.1", description="address to listen on; without keys, loopback only")
    port: int = Field(8080, ge=0, le=65535, description="port to listen on; 0 takes a free one")
    max_body_bytes: Positive = Field(10 * 1024 * 1024, description="largest request body")
    max_in_flight: Positive = Field(512, description="requests at the engine at once, whole gateway")
    max_in_flight_per_task: Positive = Field(256, description="requests at the engine at once, one task")
    max_waiting: int = Field(1024, ge=0, description="requests waiting for a place, whole gateway")
    max_waiting_per_task: int = Field(256, ge=0, description="requests waiting for a place, one task")
    queue_timeout_s: Seconds = Field(60.0, description="longest wait for a place")
    connect_timeout_s: Seconds = Field(5.0, description="connecting to the engine")
    first_byte_timeout_s: Seconds = Field(600.0, description="until the engine's answer begins")
    idle_timeout_s: Seconds = Field(120.0, description="between two pieces of the engine's answer")
    total_timeout_s: Seconds = Field(3600.0, description="one request from end to end")
    shutdown_timeout_s: Seconds = Field(30.0, description="accepted requests may finish within this")
    receive_timeout_s: Seconds = Field(60.0, description="until a whole request is here, from its first byte")
    workers: Positive = Field(1, description="processes; each bound above is shared out between them")
    public_metrics: bool = Field(False, description="/metrics without a key though keys are configured")
    max_n: Positive = Field(16, description="largest n and best_of")
    max_logprobs: Positive = Field(20, description="largest logprobs and top_logprobs")


class EngineConfig(_Strict):
    """How the engine is run."""

    host: Literal["127.0.0.1", "::1"] = Field("127.0.0.1", description="loopback only")
    port: int = Field(8101, ge=1, le=65535, description="first port that is tried, then upwards")
    start_timeout_s: Seconds = Field(900.0, description="until a real completion has worked")
    stop_timeout_s: Seconds = Field(20.0, description="between SIGTERM and SIGKILL")
    env: dict[str, str] = Field(default_factory=dict, description="environment added to the engine's")
    extra_args: list[str] = Field(default_factory=list, description="arguments added to the engine's own")


class Config(_Strict):
    """A whole configuration; paths are absolute once loaded."""

    base: BaseConfig
    tasks: dict[str, TaskConfig] = Field(default_factory=dict)
    pipelines: dict[str, PipelineConfig] = Field(default_factory=dict)
    keys: dict[str, KeyConfig] = Field(default_factory=dict)
    gateway: GatewayConfig = Field(default_factory=GatewayConfig)  # type: ignore[arg-type]  # all defaulted
    engine: EngineConfig = Field(default_factory=EngineConfig)  # type: ignore[arg-type]  # all defaulted
    state_dir: Path = Path(".state")

    @field_validator("tasks", "pipelines", "keys")
    @classmethod
    def _names(cls, value: dict[str, object]) -> dict[str, object]:
        for name in value:
            if not NAME.match(name):
                raise ValueError(f"the name {name!r} must be letters, digits, '.', '_' or '-', at most 63")
        return value

    @model_validator(mode="after")
    def _references(self) -> Config:
        models = {self.base.name, *self.tasks}
        for name in [self.base.name, *self.tasks]:
            if name in self.pipelines:
                raise ValueError(f"pipelines.{name}: the name is taken by a task or the base")
        if self.base.name in self.tasks:
            raise ValueError(f"tasks.{self.base.name}: the name is the base's (base.name)")
        for name, pipeline in self.pipelines.items():
            _check_stages(name, pipeline, models)
        _check_keys(self)
        _check_workers(self)
        return self

    @property
    def models(self) -> list[str]:
        """Every public model name: base, tasks, pipelines."""
        return [self.base.name, *self.tasks, *self.pipelines]


def _check_keys(config: Config) -> None:
    models = config.models
    owners: dict[str, str] = {}
    for name, key in config.keys.items():
        if key.sha256 in owners:
            raise ValueError(f"keys.{name}: the same key as keys.{owners[key.sha256]}")
        owners[key.sha256] = name
        for model in key.tasks or ():
            if model not in models:
                guess = nearest(model, models)
                hint = f"; did you mean {guess!r}?" if guess else ""
                raise ValueError(
                    f"keys.{name}.tasks: {model!r} is no model{hint} (models: {', '.join(models)})"
                )
    if not config.keys and config.gateway.host not in LOOPBACK:
        raise ValueError(
            f"gateway.host: {config.gateway.host!r} can be reached from other machines, and there are no "
            "keys; add one (lora-gateway keys new) or listen on 127.0.0.1"
        )


def _check_workers(config: Config) -> None:
    """Each worker needs a place of its own in every bound on requests in flight."""
    gateway = config.gateway
    bounds = {
        "gateway.max_in_flight": gateway.max_in_flight,
        "gateway.max_in_flight_per_task": gateway.max_in_flight_per_task,
        **{f"tasks.{name}.max_in_flight": task.max_in_flight for name, task in config.tasks.items()},
    }
    for key, bound in bounds.items():
        if bound is not None and bound < gateway.workers:
            raise ValueError(f"{key}: {bound} cannot be shared by {gateway.workers} workers; raise it")


def _check_stages(name: str, pipeline: PipelineConfig, models: set[str]) -> None:
    seen: set[str] = set()
    for stage in pipeline.stages:
        where = f"pipelines.{name}.stages.{stage.id}"
        if stage.id in seen:
            raise ValueError(f"{where}: the id is used twice")
        if stage.task not in models:
            guess = nearest(stage.task, models)
            hint = f"; did you mean {guess!r}?" if guess else ""
            raise ValueError(
                f"{where}.task: {stage.task!r} is no task{hint} (tasks: {', '.join(sorted(models))})"
            )
        if stage.for_each is not None:
            source, _, field = stage.for_each.partition(".")
            if source not in seen or not field:
                known = ", ".join(sorted(seen)) or "none"
                raise ValueError(f"{where}.for_each: write <earlier stage>.<field>; earlier stages: {known}")
        if (stage.for_each is None) != (stage.into is None):
            raise ValueError(f"{where}: for_each and into go together")
        seen.add(stage.id)


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
        "pipelines": StageConfig if "stages" in parents else PipelineConfig,
    }
    model = sections.get(parents[0], Config) if parents else Config
    return [field.alias or name for name, field in model.model_fields.items()]


def _one_line(text: str) -> str:
    return " ".join(text.split())
