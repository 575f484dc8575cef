"""The configuration's section `gateway`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from gateway.config.limit_settings import LimitConfig
from gateway.config.media_hosts import media_host
from gateway.config.origins import tidy_origin
from gateway.config.strict import Positive, Seconds, Strict


class TlsConfig(Strict):
    """HTTPS; a file that changes is taken within seconds, without a restart."""

    cert: Path = Field(description="the certificate and those between it and its authority, PEM")
    key: Path = Field(description="its private key, PEM, without a passphrase")
    client_ca: Path | None = Field(
        None, description="authorities whose clients alone may connect; default: any client may"
    )


class TracesConfig(Strict):
    """Spans of requests, for OpenTelemetry. OTEL_EXPORTER_OTLP_HEADERS in the environment goes along."""

    endpoint: str = Field(
        pattern=r"^https?://\S+$",
        description="the collector's whole URL for OTLP over HTTP, such as http://127.0.0.1:4318/v1/traces",
    )
    sampled: float = Field(1.0, ge=0, le=1, description="share of the traces that no client has decided for")
    engines: bool = Field(True, description="vLLM engines that are started here send their own spans there")


class GatewayConfig(Strict):
    """The data plane's own settings."""

    host: str = Field("127.0.0.1", description="address to listen on; without keys, loopback only")
    port: int = Field(8080, ge=0, le=65535, description="port to listen on; 0 takes a free one")
    tls: TlsConfig | None = Field(None, description="HTTPS; default: plain HTTP")
    max_body_bytes: Positive = Field(10 * 1024 * 1024, description="largest request body")
    max_held_body_bytes: Positive = Field(
        512 * 1024 * 1024, description="bodies over 64 KiB at once; of several tenants each has at most half"
    )
    body_idle_timeout_s: Seconds = Field(20.0, description="between two pieces of a request's body")
    max_in_flight: Positive = Field(512, description="requests at the engine at once, whole gateway")
    max_in_flight_per_task: Positive = Field(256, description="requests at the engine at once, one task")
    max_waiting: int = Field(1024, ge=0, description="requests waiting for a place, whole gateway")
    max_waiting_per_task: int = Field(256, ge=0, description="requests waiting for a place, one task")
    follow_engines: bool = Field(
        True,
        description="fewer in flight where engines queue requests, as their /metrics says; then they wait",
    )
    queue_timeout_s: Seconds = Field(60.0, description="longest wait for a place")
    connect_timeout_s: Seconds = Field(5.0, description="connecting to the engine")
    first_byte_timeout_s: Seconds = Field(600.0, description="until the engine's answer begins")
    idle_timeout_s: Seconds = Field(120.0, description="between two pieces of the engine's answer")
    total_timeout_s: Seconds = Field(3600.0, description="one request from end to end")
    shutdown_timeout_s: Seconds = Field(30.0, description="accepted requests may finish within this")
    receive_timeout_s: Seconds = Field(60.0, description="until a whole request is here, from its first byte")
    workers: Positive = Field(1, description="processes; each bound above is shared out between them")
    parameters: Literal["lenient", "strict"] = Field(
        "lenient", description="what cannot change an answer's meaning is named and ignored; strict: refused"
    )
    cors_origins: list[Annotated[str, AfterValidator(tidy_origin)]] = Field(
        default_factory=list, description="pages that may call from a browser, by origin; '*': every page"
    )
    limits: LimitConfig | None = Field(None, description="rates and budgets of all requests; default: none")
    keys_required: bool = Field(
        False, description="a key is needed though none is configured: `lora-gateway keys create` makes them"
    )
    max_bad_keys_per_minute: Positive = Field(
        60, description="unknown keys from one address, then 429 for them; good keys go on, in each worker"
    )
    traces: TracesConfig | None = Field(None, description="spans for OpenTelemetry; default: none")
    public_metrics: bool = Field(False, description="/metrics without a key though keys are configured")
    max_cold_waiting: int = Field(256, ge=0, description="requests waiting for an engine that starts")
    cold_timeout_s: Seconds = Field(180.0, description="longest wait for an engine that starts")
    least_residency_s: Seconds = Field(
        0.5, description="an adapter keeps its LoRA slot so long before another may take it"
    )
    shadow_texts: bool = Field(
        False, description="requests and answers stand in a shadow's records too, not digests alone"
    )
    max_n: Positive = Field(16, description="largest n and best_of")
    max_sequences: Positive = Field(
        4096, description="sequences of one request: prompts times n, or inputs of embeddings"
    )
    max_pipeline_bytes: Positive = Field(
        256 * 1024 * 1024, description="memory that the inputs of pipelines may take at once, as estimated"
    )
    max_stop_strings: Positive = Field(128, description="stop strings of one request")
    max_logit_bias: Positive = Field(4096, description="tokens in a logit_bias, and in stop_token_ids")
    max_allowed_token_ids: Positive = Field(262_144, description="tokens in allowed_token_ids")
    max_logprobs: Positive = Field(20, description="largest logprobs and top_logprobs")
    max_schema_bytes: Positive = Field(
        64 * 1024, description="largest schema in one request, and all of the tools that a call must keep to"
    )
    max_tools_bytes: Positive = Field(1024 * 1024, description="largest list of tools in one request")
    max_new_schemas_per_minute: Positive = Field(
        600, description="schemas of one key that no request had before; the same again are not counted"
    )
    media_hosts: list[Annotated[str, AfterValidator(media_host)]] = Field(
        default_factory=list,
        description="hosts that images, sounds and videos may be fetched from, such as images.example.com or "
        "*.example.com, where the base takes them; default: none is fetched by address",
    )
    prefix_cache: Literal["tenant", "key", "none"] = Field(
        "tenant",
        description="who shares an engine's prefix cache: a tenant's keys (those without a tenant share "
        "another); each key its own; none: everybody shares, and a client's cache_salt passes as it is",
    )
    template_variables: list[str] = Field(
        default_factory=lambda: [
            *("enable_thinking", "thinking", "thinking_budget", "reasoning_effort"),
            *("clear_thinking", "preserve_thinking"),
        ],
        description="what a client may set in chat_template_kwargs",
    )
