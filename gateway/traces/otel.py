"""Spans by OpenTelemetry's SDK, sent as OTLP over HTTP, by its conventions for generative AI.

    chat naming (SERVER)                       from the client's request to the last byte of its answer
    ├── queue                                  until it had its place
    │   └── adapter wait                       of that, with its adapter in no LoRA slot
    ├── engine naming@3f2a9c1b04de (CLIENT)    at the engine; vLLM's own `llm_request` is its child
    └── chat concept (INTERNAL)                a stage of a pipeline, with children of the same kinds

No text of a request or an answer stands in any of them.
"""

from __future__ import annotations

import time
from collections.abc import Iterable

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, set_span_in_context
from opentelemetry.trace import Tracer as SdkTracer
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from gateway.traces.trace import Ended

EXPORT_TIMEOUT_S = 3.0
"""For one try to reach a collector, and so for how long the end of a worker may wait for it."""
EVERY_MS = 1000
LEAST_QUEUE_S = 0.0001
"""A shorter wait is a turn of the loop: no span."""
_CARRIED = (b"traceparent", b"tracestate")
PROVIDERS = {
    "azure": "azure.ai.openai",
    "azure_ai": "azure.ai.inference",
    "bedrock": "aws.bedrock",
    "gemini": "gcp.gemini",
    "mistral": "mistral_ai",
    "vertex_ai": "gcp.vertex_ai",
    "watsonx": "ibm.watsonx.ai",
    "xai": "x_ai",
}
"""`gen_ai.provider.name` where the conventions name a provider in another way than LiteLLM."""


class OtelTracer:
    """Of one worker. It sends in a thread of its own; what a collector does not take in time is lost."""

    def __init__(self, endpoint: str, sampled: float) -> None:
        """`endpoint` is the whole URL; `sampled` the share of traces that no client has decided for."""
        self._provider = TracerProvider(
            sampler=ParentBased(TraceIdRatioBased(sampled)),
            resource=Resource.create({"service.name": "lora-gateway"}),
            shutdown_on_exit=False,  # `stop` does it, and no end waits longer than that
        )
        exporter = OTLPSpanExporter(endpoint=endpoint, timeout=EXPORT_TIMEOUT_S)
        self._processor = BatchSpanProcessor(exporter, schedule_delay_millis=EVERY_MS)
        self._provider.add_span_processor(self._processor)
        self._tracer = self._provider.get_tracer("lora_gateway")
        self._carrier = TraceContextTextMapPropagator()

    def begin(self, headers: Iterable[tuple[bytes, bytes]]) -> OtelTrace:
        """Open a request's span under the client's own, where its headers carry one."""
        carried = {name.decode(): value.decode("latin-1") for name, value in headers if name in _CARRIED}
        context = self._carrier.extract(carried, Context()) if carried else Context()
        span = self._tracer.start_span("request", context=context, kind=SpanKind.SERVER)
        return OtelTrace(self._tracer, span)

    def stop(self) -> None:
        """Send what is left, for a few seconds at most, as `Tracer` has it; it blocks."""
        self._provider.shutdown()


class OtelTrace:
    """The spans of one request, as OpenTelemetry's SDK exports them; methods as `RequestTrace` has them."""

    __slots__ = ("_context", "_engine", "_slot_wait_s", "_span", "_tracer")

    def __init__(self, tracer: SdkTracer, span: Span) -> None:
        self._tracer = tracer
        self._span = span
        self._context = set_span_in_context(span, Context())
        self._engine: Span | None = None
        self._slot_wait_s = 0.0

    def child(self) -> OtelTrace:
        """As `RequestTrace` has it, as the rest here."""
        return OtelTrace(self._tracer, self._tracer.start_span("stage", context=self._context))

    def sent(self) -> bytes:
        self.left_engine()
        self._engine = self._tracer.start_span("engine", context=self._context, kind=SpanKind.CLIENT)
        at = self._engine.get_span_context()
        line = b"traceparent: 00-%032x-%016x-%02x\r\n" % (at.trace_id, at.span_id, at.trace_flags)
        state = at.trace_state.to_header()
        return line + b"tracestate: %b\r\n" % state.encode("latin-1") if state else line

    def unsent(self) -> None:
        self._engine = None  # a span that never ends is never sent

    def left_engine(self) -> None:
        if self._engine is not None:
            self._engine.set_status(Status(StatusCode.ERROR, "another was asked"))
            self._engine.end()
            self._engine = None

    def waited_for_slot(self, seconds: float) -> None:
        self._slot_wait_s += seconds

    def ended(self, how: Ended) -> None:
        if not self._span.is_recording():
            return
        now_ns, now = time.time_ns(), time.perf_counter()

        def ns(moment: float) -> int:
            return now_ns - int((now - moment) * 1e9)

        if how.queue_s >= LEAST_QUEUE_S:
            begun = how.sent - how.queue_s if how.sent else how.arrived
            self._add_queue(ns(begun), ns(begun + how.queue_s), ns(begun + how.queue_s - self._slot_wait_s))
        if self._engine is not None:
            whole = how.first_token_s is None and how.engine_s
            self._end_engine(self._engine, how, ns(how.sent + how.engine_s) if whole else now_ns)
            if how.first_token_s is not None:
                self._span.add_event("first token", timestamp=ns(how.arrived + how.first_token_s))
        span = self._span
        span.update_name(f"{how.operation} {how.model}".strip())
        span.set_attributes(_attributes(how))
        span.set_attributes({f"lora_gateway.{name}": value for name, value in how.attributes.items()})
        _say_error(span, how, least=500)  # what is the client's fault is no failure of the server
        span.end(now_ns)

    def _add_queue(self, begun_ns: int, ended_ns: int, lacked_from_ns: int) -> None:
        queue = self._tracer.start_span("queue", context=self._context, start_time=begun_ns)
        if self._slot_wait_s:
            context = set_span_in_context(queue, Context())
            wait = self._tracer.start_span("adapter wait", context=context, start_time=lacked_from_ns)
            wait.end(ended_ns)
        queue.end(ended_ns)

    def _end_engine(self, engine: Span, how: Ended, ended_ns: int) -> None:
        engine.update_name(f"engine {how.adapter}".strip())
        engine.set_attributes(_attributes(how))
        _say_error(engine, how, least=400)
        engine.end(ended_ns)


def _attributes(how: Ended) -> dict[str, str | int]:
    attributes: dict[str, str | int | None] = {
        "gen_ai.operation.name": how.operation,
        "gen_ai.provider.name": PROVIDERS.get(how.provider, how.provider),
        "gen_ai.request.model": how.model,
        "gen_ai.response.model": how.adapter or None,
        "gen_ai.usage.input_tokens": how.prompt_tokens,
        "gen_ai.usage.output_tokens": how.completion_tokens,
        "http.response.status_code": how.status or None,
        "error.type": how.error or None,
    }
    return {name: value for name, value in attributes.items() if value is not None}


def _say_error(span: Span, how: Ended, least: int) -> None:
    if how.error and how.status >= least:
        span.set_status(Status(StatusCode.ERROR, how.error))
