"""Whether there are traces, and the tracer that makes them."""

from __future__ import annotations

from importlib.util import find_spec

from gateway.config.gateway_settings import TracesConfig
from gateway.errors import ConfigError
from gateway.traces.trace import Tracer

NEEDED = ("opentelemetry.sdk.trace", "opentelemetry.exporter.otlp.proto.http")


def check_installed(traces: TracesConfig | None) -> None:
    """Raises ConfigError where traces are asked for and OpenTelemetry is not there."""
    if traces is not None and not all(map(_is_there, NEEDED)):
        mend = "needs OpenTelemetry: pip install 'lora-gateway[traces]'"
        raise ConfigError("gateway.traces", traces.endpoint, mend)


def _is_there(name: str) -> bool:
    try:
        return find_spec(name) is not None
    except ModuleNotFoundError:  # of what it stands in
        return False


def tracer_of(traces: TracesConfig | None) -> Tracer | None:
    """The tracer of a worker, after its fork: it has a thread. Raises ConfigError."""
    if traces is None:
        return None
    check_installed(traces)
    from gateway.traces.otel import OtelTracer  # half a second, for those who trace alone

    return OtelTracer(traces.endpoint, traces.sampled)
