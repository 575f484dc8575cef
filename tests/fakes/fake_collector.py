"""An OpenTelemetry collector: it takes OTLP over HTTP as the protocol has it, and keeps the spans."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from tests.fakes.http_server import Handler, serving


@dataclass
class Collector:
    """`spans` in the order of their ends; `services` are the resources' names."""

    url: str = ""
    spans: list[Span] = field(default_factory=list)
    services: set[str] = field(default_factory=set)

    def named(self, name: str) -> Span:
        """The only span of that name."""
        (found,) = [span for span in self.spans if span.name == name]
        return found

    def children(self, span: Span) -> dict[str, Span]:
        """By name."""
        return {one.name: one for one in self.spans if one.parent_span_id == span.span_id}

    def take(self, body: bytes) -> None:
        """One request's body. Raises google.protobuf's DecodeError."""
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            facts = {one.key: one.value.string_value for one in resource.resource.attributes}
            self.services.add(facts["service.name"])
            for scope in resource.scope_spans:
                self.spans.extend(scope.spans)


def attributes_of(span: Span) -> dict[str, str | int | bool]:
    """Strings, integers and truth values."""
    return {
        one.key: getattr(one.value, one.value.WhichOneof("value") or "string_value")
        for one in span.attributes
    }


@contextmanager
def collector() -> Iterator[Collector]:
    """One that listens, in a thread."""
    kept = Collector()

    class Taking(Handler):
        def do_POST(self) -> None:
            body = self.body()
            right = (self.path, self.headers["content-type"]) == ("/v1/traces", "application/x-protobuf")
            if right:
                kept.take(body)
            answer = ExportTraceServiceResponse().SerializeToString()
            self.answer(answer, 200 if right else 400, content_type="application/x-protobuf")

    with serving(Taking) as url:
        kept.url = f"{url}/v1/traces"
        yield kept
