"""The configuration's keys, as pydantic models: types, defaults, and what must hold between them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    Field,
    JsonValue,
    field_validator,
    model_validator,
)

from gateway.config.engine_settings import (
    AttachedConfig,
    BackendConfig,
    EngineConfig,
    EnginesConfig,
    PlacementConfig,
    VariableName,
)
from gateway.config.gateway_settings import GatewayConfig
from gateway.config.key_settings import KeyConfig, TenantConfig, is_pattern, tenant_name
from gateway.config.limit_settings import LimitConfig
from gateway.config.sections.sampling import Sampling
from gateway.config.sections.shared_settings import SharedConfig
from gateway.config.strict import NAME, NAME_RULE, Duration, Line, Positive, Seconds, Strict
from gateway.errors import did_you_mean

DEMO_BASE = "demo:smollm2-135m-instruct"
LOOPBACK = ("127.0.0.1", "::1", "localhost")
JsonObject = dict[str, JsonValue]


class BaseConfig(Strict):
    """The base model, loaded once."""

    name: Line = Field("base", description="public model name of the base without an adapter")
    model: str = Field(
        min_length=1, description=f"hub id, folder, or {DEMO_BASE!r} for the demo's base in the cache"
    )
    dtype: Literal["auto", "bfloat16", "float16", "float32"] = Field("auto", description="weights' type")
    gpu_memory_utilization: float = Field(0.9, gt=0, le=1, description="share of the card's memory; GPU only")
    tensor_parallel_size: Positive = Field(1, description="cards that one engine is split over")
    max_loras: Positive | Literal["auto"] = Field("auto", description="adapters in one batch; auto: all")
    max_lora_rank: Positive | Literal["auto"] = Field("auto", description="auto: the adapters' largest rank")
    max_model_len: Positive | None = Field(None, description="context in tokens; default: the model's own")
    max_num_seqs: Positive | None = Field(None, description="requests in one batch; default: the engine's")
    enforce_eager: bool = Field(False, description="no compilation and no CUDA graphs")
    kv_cache_gib: float | None = Field(None, gt=0, description="key-value cache in GiB; CPU only")
    max_cpu_loras: Positive | Literal["auto"] = Field(
        "auto",
        description="adapters kept in the machine's memory; auto: twice those of the start",
    )
    start: Literal["eager", "lazy"] = Field("eager", description="lazy: the first request starts the engine")
    idle_unload: Literal["never"] | Duration = Field(
        "never", description="unload after so long without a request, such as 15m; never: it stays loaded"
    )
    tool_call_parser: str | None = Field(
        "auto",
        description="the engine's --tool-call-parser, such as hermes; auto: what fits the base; null: none",
    )
    reasoning_parser: str | None = Field(
        "auto",
        description="the engine's --reasoning-parser, such as qwen3: thinking is told from the answer; "
        "auto: what fits the base; null: none",
    )
    load_format: str | None = Field(None, description="the engine's --load-format, such as dummy")

    @field_validator("tool_call_parser", "reasoning_parser", mode="before")
    @classmethod
    def _none_is_off(cls, value: object) -> object:
        """YAML's `none` is a word, its `null` is not, and its `off` and `no` are false."""
        return None if value is False or value in ("", "none", "off") else value


FallbackReason = Literal["cold", "overload", "failed"]


class FallbackConfig(Strict):
    """Another model that answers for the task when the engine cannot. Without it none ever does."""

    model: str = Field(description="LiteLLM's name of it, such as openai/gpt-4o-mini")
    when: list[FallbackReason] = Field(
        default_factory=list,
        description="never, or cold (the engine starts), overload (its queue is full), failed (it is gone)",
    )
    after_s: float = Field(0.0, ge=0, description="while the engine is cold, wait so long for it first")
    api_base: str | None = Field(None, description="another address than the provider's own")
    api_key_env: VariableName | None = Field(
        None, description="environment variable that holds the key; default: LiteLLM's own for the provider"
    )
    timeout_s: Seconds = Field(60.0, description="until it answers, and between two pieces of a stream")
    max_in_flight: Positive = Field(16, description="requests of the task at it at once, in each worker")

    @field_validator("when", mode="before")
    @classmethod
    def _reasons(cls, value: object) -> object:
        """`never`, one reason, or several."""
        if isinstance(value, str):
            return [] if value == "never" else [value]
        return value

    @field_validator("model")
    @classmethod
    def _named(cls, value: str) -> str:
        if not re.match(r"^[a-z0-9_.-]+/\S+$", value):
            raise ValueError("write provider/model as LiteLLM does, such as openai/gpt-4o-mini")
        return value


class PriceConfig(Strict):
    """What tokens cost, in whatever currency all prices are in."""

    input_per_million: float = Field(0.0, ge=0, description="of the prompts' tokens")
    output_per_million: float = Field(0.0, ge=0, description="of the tokens that the engine makes")


class TaskConfig(Strict):
    """A public model name: an adapter and its prompt contract."""

    adapter: Path = Field(description="folder in peft's format, safetensors only")
    description: str = Field("", description="shown in /v1/models")
    system: str | None = Field(None, description="system prompt where the client sends none")
    defaults: Sampling = Field(default_factory=dict, description="sampling where the client sets none")
    schema_: JsonObject | None = Field(
        None, alias="schema", description="JSON schema of the answer, inline or a file's path"
    )
    max_in_flight: Positive | None = Field(None, description="default: gateway.max_in_flight_per_task")
    max_waiting: int | None = Field(None, ge=0, description="default: gateway.max_waiting_per_task")
    limits: LimitConfig | None = Field(None, description="rates and budgets of its requests; default: none")
    fallback: FallbackConfig | None = Field(None, description="another model where the engine cannot answer")
    price: PriceConfig | None = Field(None, description="what `lora-gateway usage` reckons for its tokens")


class StageConfig(Strict):
    """One stage of a pipeline."""

    id: str = Field(description="name that later stages refer to")
    task: str = Field(description="a task's name, or the base's")
    prompt: str = Field(description="sandboxed Jinja template; sees input, text, terms, item, stages")
    system: str | None = Field(None, description="system prompt; default: the task's")
    defaults: Sampling = Field(default_factory=dict, description="sampling, over the task's own defaults")
    schema_: JsonObject | None = Field(
        None, alias="schema", description='JSON schema; {"$from": "terms"} stands for a value of the input'
    )
    for_each: str | None = Field(None, description="<stage>.<field>: run once per element of that list")
    into: str | None = Field(None, description="field of the element that takes this stage's answer")
    partition: str | None = Field(
        None,
        description="<list>.<members> of its answer: every term of the input stands in exactly one element",
    )
    distinct: bool = Field(False, description="no two elements get the same answer; with for_each, of text")


class PipelineConfig(Strict):
    """Stages behind one model name."""

    description: str = Field("", description="shown in /v1/models")
    stages: list[StageConfig] = Field(min_length=1, description="in order")
    limits: LimitConfig | None = Field(None, description="rates and budgets of its requests; default: none")
    max_items: Positive = Field(64, description="most elements that one fan-out may have")
    max_input_terms: Positive = Field(512, description="most terms that one input may list")
    max_input_bytes: Positive = Field(
        1024 * 1024, description="largest request to it, with its earlier messages"
    )
    max_input_members: Positive = Field(
        50_000, description="most members of all lists and objects in one input that is JSON"
    )
    on_error: Literal["fail", "null"] = Field(
        "fail", description="when one element fails: all, or null for it"
    )
    system: Literal["refuse", "ignore", "prepend"] = Field(
        "ignore", description="a client's system message: a 400, left out, or before the first stage's own"
    )

    @field_validator("on_error", mode="before")
    @classmethod
    def _null_is_meant(cls, value: object) -> object:
        """YAML's `null` is no word unless it stands in quotes."""
        return "null" if value is None else value


class AdaptersConfig(Strict):
    """Where adapters may come from while the engine runs."""

    roots: list[Path] = Field(
        default_factory=list, description="folders they may be taken from; default: the configuration's"
    )
    max_bytes: Positive = Field(4 * 1024**3, description="largest adapter, unpacked")
    keep_previous: bool = Field(True, description="the version before stays loaded, for an instant rollback")


class BatchesConfig(Strict):
    """Files and batches of requests, at `/v1/files` and `/v1/batches`."""

    enabled: bool = Field(True, description="false: neither route answers and nothing is run")
    max_file_bytes: Positive = Field(256 * 1024**2, description="largest file that may be uploaded")
    max_lines: Positive = Field(100_000, description="most requests in one batch")
    max_in_flight: Positive = Field(16, description="requests of batches at once, beside those of clients")
    max_open: Positive = Field(64, description="unfinished batches that one key may have")
    max_kept_bytes: Positive = Field(
        10 * 1024**3, description="all files together; when full, uploads are refused"
    )
    max_kept_bytes_per_key: Positive | None = Field(
        None, description="files of one key; default: half of max_kept_bytes, all of it for a single key"
    )
    keep_days: Positive = Field(
        30, description="files and ended batches are kept so long, where a client says nothing"
    )


class Config(Strict):
    """A whole configuration; paths are absolute once loaded."""

    base: BaseConfig
    tasks: dict[str, TaskConfig] = Field(default_factory=dict, description="adapters, by public model name")
    pipelines: dict[str, PipelineConfig] = Field(
        default_factory=dict, description="stages behind one model name, by that name"
    )
    keys: dict[str, KeyConfig] = Field(
        default_factory=dict, description="who may call; without any, loopback only"
    )
    tenants: dict[Annotated[str, AfterValidator(tenant_name)], TenantConfig] = Field(
        default_factory=dict, description="what operators' keys may change, by the keys' tenant"
    )
    gateway: GatewayConfig = Field(default_factory=GatewayConfig)  # type: ignore[arg-type]  # all defaulted
    engine: EngineConfig = Field(default_factory=EngineConfig)  # type: ignore[arg-type]  # all defaulted
    engines: EnginesConfig = Field(
        default_factory=list,
        description="several engines of ours, as a mapping; or a list of servers that somebody else runs, "
        "and then none is started here",
    )
    placement: PlacementConfig = Field(default_factory=PlacementConfig)  # type: ignore[arg-type]  # all defaulted
    adapters: AdaptersConfig = Field(default_factory=AdaptersConfig)  # type: ignore[arg-type]  # all defaulted
    batches: BatchesConfig = Field(default_factory=BatchesConfig)  # type: ignore[arg-type]  # all defaulted
    shared: SharedConfig | None = Field(
        None, description="what several gateways agree on, through Redis; default: this machine is all"
    )
    state_dir: Path = Field(Path(".state"), description="what the control plane keeps is there")

    @field_validator("tasks", "pipelines", "keys")
    @classmethod
    def _names(cls, value: dict[str, object]) -> dict[str, object]:
        for name in value:
            if not NAME.match(name):
                raise ValueError(f"the name {name!r} {NAME_RULE}")
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
        if self.backend.bounds is not None and self.base.idle_unload != "never":
            raise ValueError("base.idle_unload: is for a fixed number; set engines.replicas.min: 0")
        return self

    @property
    def attached(self) -> list[AttachedConfig]:
        """Servers that somebody else runs; with any, no engine is ours."""
        return self.engines if isinstance(self.engines, list) else []

    @property
    def backend(self) -> BackendConfig:
        """Where engines of ours run, and how many; one here, where nothing is said."""
        if isinstance(self.engines, list):
            return BackendConfig.model_validate({})
        return self.engines

    @property
    def common_dir(self) -> Path:
        """Where that stands which several machines have together, where they do: else the state directory."""
        shared = self.shared
        return self.state_dir if shared is None or shared.folder is None else shared.folder

    def tenant(self, name: str) -> TenantConfig:
        """What its operators may do; the defaults where nothing is configured."""
        return self.tenants.get(name) or TenantConfig.model_validate({})

    @property
    def models(self) -> list[str]:
        """Every public model name: base, tasks, pipelines."""
        return [self.base.name, *self.tasks, *self.pipelines]


def _check_keys(config: Config) -> None:
    models = config.models
    owners: dict[str, str] = {}
    for name, key in config.keys.items():
        for digest in filter(None, (key.sha256, key.previous_sha256)):
            if digest in owners:
                raise ValueError(f"keys.{name}: the same key as keys.{owners[digest]}")
            owners[digest] = name
        for model in key.tasks or ():
            if model not in models and not is_pattern(model):
                hint = did_you_mean(model, models)
                raise ValueError(
                    f"keys.{name}.tasks: {model!r} is no model{hint} (models: {', '.join(models)})"
                )
    if not config.keys and not config.gateway.keys_required and config.gateway.host not in LOOPBACK:
        raise ValueError(
            f"gateway.host: {config.gateway.host!r} can be reached from other machines, and there are no "
            "keys; add one (lora-gateway keys new), set gateway.keys_required and make them later "
            "(lora-gateway keys create), or listen on 127.0.0.1"
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
            hint = did_you_mean(stage.task, models)
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
