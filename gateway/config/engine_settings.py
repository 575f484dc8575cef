"""The configuration's keys of engines: how one of ours is run, how many of them, or whose are followed."""

from __future__ import annotations

import re
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, Discriminator, Field, Tag, field_validator, model_validator

from gateway.config.strict import Line, Name, Positive, Seconds, Strict, Word

VARIABLE_NAME = re.compile(r"^[A-Z][A-Z0-9_]*\Z")
MOST_REPLICAS = 64


def _named(value: str) -> str:
    """Raises ValueError for what names no variable: it may be a key given by mistake."""
    if not VARIABLE_NAME.match(value):
        raise ValueError("must be the name of an environment variable, not the key itself")
    return value


VariableName = Annotated[str, AfterValidator(_named)]


def server_of(url: str) -> tuple[str, int]:
    """Host and port of `http://host:port`. Raises ValueError where it names none."""
    parts = urlsplit(url)
    port = 80 if parts.port is None else parts.port
    if not parts.hostname or not port:
        raise ValueError(f"{url!r} names no host and port")
    return parts.hostname, port


class EngineConfig(Strict):
    """How the engine is run."""

    host: Literal["127.0.0.1", "::1"] = Field("127.0.0.1", description="loopback only")
    port: int = Field(8101, ge=1, le=65535, description="first port that is tried, then upwards")
    start_timeout_s: Seconds = Field(900.0, description="until a real completion has worked")
    stop_timeout_s: Seconds = Field(20.0, description="between SIGTERM and SIGKILL")
    max_restarts: int = Field(5, ge=0, description="restarts in a row before the engine counts as failed")
    restart_backoff_s: Seconds = Field(1.0, description="before the first restart; doubled each time, to 60")
    hang_timeout_s: Seconds = Field(60.0, description="a completion without an answer for so long is a hang")
    log: Literal["errors", "all"] = Field(
        "errors", description="what of its log is passed on; the whole is in engine.log in state_dir"
    )
    env: dict[str, Word] = Field(default_factory=dict, description="environment added to the engine's")
    extra_args: list[Word] = Field(default_factory=list, description="arguments added to the engine's own")


class AttachedConfig(Strict):
    """A vLLM server that somebody else runs; it must see the adapters' folders under the same paths."""

    url: str = Field(description="http://host:port of the server")
    name: Line | None = Field(None, description="shown in x-gateway-replica; default: engine-<number>")
    slots: Positive | None = Field(None, description="its --max-loras; default: base.max_loras")
    prompt_logprobs: bool = Field(
        False, description="it scores prompts soundly: no adapter can act on its lm_head"
    )
    api_key_env: VariableName | None = Field(
        None, description="environment variable that holds the key it asks for (its --api-key); default: none"
    )

    @field_validator("url")
    @classmethod
    def _plain_http(cls, value: str) -> str:
        mend = "write http://host:port, without a path"
        if not re.match(r"^http://[^/@?#\s]+/?\Z", value):
            raise ValueError(mend)
        try:
            server_of(value)
        except ValueError as error:
            raise ValueError(f"{mend} ({error})") from error
        return value.rstrip("/")


class RayConfig(Strict):
    """Where in a Ray cluster engines run, and what each has there."""

    address: str = Field("auto", description="host:port of the cluster's head; auto: that of this node")
    namespace: Name | None = Field(
        None,
        description="of this launch alone: what others have there is ended; "
        "default: one that hangs on the state directory",
    )
    cpus: float = Field(1.0, gt=0, description="processors reserved for each engine on its node")
    gpus: int | None = Field(
        None,
        ge=0,
        description="cards reserved for each engine on its node; default: base.tensor_parallel_size where "
        "this machine has a card, else none",
    )
    resources: dict[str, float] = Field(
        default_factory=dict, description="further resources that its node must have, by their names"
    )
    nodes: Positive = Field(
        1, description="nodes that one engine is split over: the engine's --pipeline-parallel-size"
    )


class BoundsConfig(Strict):
    """Between how many engines their number follows what clients wait for."""

    min: int = Field(1, ge=0, le=MOST_REPLICAS, description="0: none while nobody asks")
    max: int = Field(ge=1, le=MOST_REPLICAS, description="the most")
    wait_s: Seconds = Field(2.0, description="one more where a queue takes longer than this to pass")
    in_flight: Positive | None = Field(
        None, description="requests that one engine bears; default: base.max_num_seqs, else 64"
    )
    add_every_s: Seconds = Field(30.0, description="between two that are added")
    remove_after_s: Seconds = Field(300.0, description="one fewer after so long without need of as many")

    @model_validator(mode="after")
    def _ordered(self) -> BoundsConfig:
        if self.min > self.max:
            raise ValueError(f"min: {self.min} is over max ({self.max})")
        return self


def _form_of(value: object) -> str:
    # A tag stands in an error's place as a key would; `document` knows these two by their brackets.
    return "mapping[]" if isinstance(value, (dict, BaseModel)) else "plain[]"


class BackendConfig(Strict):
    """Several engines of ours, in place of the one that is started without this section."""

    backend: Literal["local", "ray"] = Field(
        "local", description="local: processes on this machine; ray: on the nodes of a Ray cluster"
    )
    replicas: Annotated[
        Annotated[int, Field(ge=1, le=MOST_REPLICAS), Tag("plain[]")]
        | Annotated[BoundsConfig, Tag("mapping[]")],
        Discriminator(_form_of),
    ] = Field(1, description="how many engines, or between how many, as a mapping")
    ray: RayConfig = Field(default_factory=RayConfig)  # type: ignore[arg-type]  # all defaulted

    @model_validator(mode="after")
    def _of_ray(self) -> BackendConfig:
        if self.backend != "ray" and self.ray != RayConfig.model_validate({}):
            raise ValueError("engines.ray: is for engines.backend: ray")
        return self

    @property
    def bounds(self) -> BoundsConfig | None:
        """Between how many their number follows the load; None where there are always as many."""
        return None if isinstance(self.replicas, int) else self.replicas

    @property
    def most(self) -> int:
        """How many engines there can be."""
        return self.replicas if isinstance(self.replicas, int) else self.replicas.max

    @property
    def local(self) -> bool:
        """Whether they run on this machine."""
        return self.backend == "local"


class PlacementConfig(Strict):
    """Which of several engines each adapter is loaded on."""

    policy: Literal["auto", "everywhere", "planned"] = Field(
        "auto",
        description="everywhere: each on every engine; planned: on as few as its traffic needs; "
        "auto: everywhere while every engine has slots for all",
    )
    min_replicas: Positive = Field(2, description="planned: engines that each adapter is on at least")
    max_moves_per_minute: Positive = Field(
        12, description="planned: adapters loaded elsewhere in a minute, beside those that no engine has"
    )
    engine_tokens_per_s: float | None = Field(
        None,
        gt=0,
        description="planned: what one engine reads and makes when it is full, as `bench engine` measures; "
        "an adapter that needs over an eighth of it gets another engine; default: none is spread by traffic",
    )


EnginesConfig = Annotated[
    Annotated[list[AttachedConfig], Tag("plain[]")] | Annotated[BackendConfig, Tag("mapping[]")],
    Discriminator(_form_of),
]
"""Servers that somebody else runs, or how many of ours; told apart by form, so that an error is of one."""
