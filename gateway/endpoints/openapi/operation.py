"""One route of the document, and how it is rendered."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel, JsonValue

from gateway.config.document import JsonObject
from gateway.endpoints.openapi.answer_models import Error

Access = Literal["open", "key", "anthropic", "azure", "admin"]
REASONS = {
    400: "A parameter is wrong, unknown or not supported; `param` names it.",
    401: "A key is needed, or this one is not known.",
    403: "The key may not do this.",
    404: "There is no such model, route or object; the message names what there is.",
    405: "The path does not take this method.",
    408: "The request did not arrive whole in time.",
    409: "It cannot be done in the state that the task or batch is in.",
    413: "The body is larger than gateway.max_body_bytes.",
    415: "The body is not JSON.",
    422: "The engine cannot do what is asked.",
    429: "The key's or the task's places are taken, or too many unknown keys came from there; Retry-After "
    "says when to come back.",
    431: "The headers are too large.",
    500: "The gateway failed; its log says why.",
    502: "The engine failed.",
    503: "The engine is starting, or the gateway is full; Retry-After says when to come back.",
    504: "A time-out of the gateway's passed.",
}
ALWAYS = (400, 408, 431, 500)
"""Of the server itself, whatever the path."""
ENGINES = (401, 403, 404, 413, 415, 422, 429, 502, 503, 504)
HEADERS = {
    "x-gateway-task": "The model's public name.",
    "x-gateway-adapter": "The id of the adapter that answered; of a pipeline all of them.",
    "x-gateway-replica": "The engine that answered.",
    "x-gateway-queue-ms": "Milliseconds of waiting for a place.",
    "x-gateway-overhead-ms": "Milliseconds that the gateway itself took.",
    "x-gateway-fallback": "The model of another provider that answered instead, where one is configured.",
    "x-gateway-fallback-reason": "Why: cold, failed or overload.",
    "x-gateway-ignored": "Parameters that were taken without effect, or lowered: names with commas between.",
    "x-gateway-cold": "`true` where the request waited for an engine to start.",
}


@dataclass(frozen=True, slots=True)
class OperationObject:
    """A method of a path. `answer` is a model of JSON, or the content type of something else."""

    method: str
    path: str
    name: str
    tag: str
    summary: str
    answer: type[BaseModel] | tuple[type[BaseModel], ...] | str
    errors: tuple[int, ...] = ()
    access: Access = "key"
    body: JsonObject | None = None
    body_type: str = "application/json"
    query: tuple[tuple[str, JsonObject], ...] = ()
    streams: bool = False
    envelope: type[BaseModel] = Error
    engine: bool = False
    """Whether an engine answers, which the headers then tell of."""

    @property
    def models(self) -> tuple[type[BaseModel], ...]:
        if isinstance(self.answer, str):
            return ()
        return self.answer if isinstance(self.answer, tuple) else (self.answer,)

    @property
    def faults(self) -> tuple[type[BaseModel], ...]:
        """What the server refuses before it knows the path has OpenAI's envelope everywhere."""
        return (Error,) if self.envelope is Error else (self.envelope, Error)

    def document(self) -> JsonObject:
        """The operation object of OpenAPI."""
        operation: JsonObject = {
            "operationId": self.name,
            "tags": [self.tag],
            "summary": self.summary,
            "parameters": [*self._in_path(), *self._in_query(), _REQUEST_ID],
            "responses": {"200": self._good(), **{str(code): self._bad(code) for code in self._codes()}},
            "security": _SECURITY[self.access],
        }
        if self.body is not None:
            operation["requestBody"] = {
                "required": True,
                "content": {self.body_type: {"schema": self.body}},
            }
        return operation

    def _codes(self) -> list[int]:
        codes = {*ALWAYS, *self.errors, *(ENGINES if self.engine else ())}
        return sorted(codes | {429} if 401 in codes else codes)  # too many bad keys, whatever the path

    def _in_path(self) -> list[JsonObject]:
        return [
            {"name": name, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
            for name in re.findall(r"\{(\w+)\}", self.path)
        ]

    def _in_query(self) -> list[JsonObject]:
        return [{"name": name, "in": "query", "schema": schema} for name, schema in self.query]

    def _good(self) -> JsonObject:
        if isinstance(self.answer, str):
            content: JsonObject = {self.answer: {"schema": {"type": "string"}}}
        else:
            content = {"application/json": {"schema": _one_of(self.models)}}
        if self.streams:
            content["text/event-stream"] = {"schema": {"description": "Server-sent events."}}
        names = ["x-request-id", *(HEADERS if self.engine else ())]
        return {"description": "The answer.", "headers": _headers(names), "content": content}

    def _bad(self, code: int) -> JsonObject:
        names = ["x-request-id", *(("retry-after",) if code in (429, 503) else ())]
        return {
            "description": REASONS[code],
            "headers": _headers(names),
            "content": {"application/json": {"schema": _one_of(self.faults)}},
        }


def _one_of(models: tuple[type[BaseModel], ...]) -> JsonObject:
    shapes: list[JsonValue] = [{"$ref": f"#/components/schemas/{model.__name__}"} for model in models]
    first = shapes[0]
    return first if len(shapes) == 1 and isinstance(first, dict) else {"anyOf": shapes}


def _headers(names: list[str]) -> JsonObject:
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}


_REQUEST_ID: JsonObject = {
    "name": "x-request-id",
    "in": "header",
    "description": "Taken over where it is well-formed, and sent back.",
    "schema": {"type": "string", "pattern": "^[A-Za-z0-9._:@/+=-]{1,128}$"},
}
_SECURITY: dict[Access, list[JsonValue]] = {
    # Without keys in the configuration none is asked for, so that no header is a choice too.
    "open": [{}],
    "key": [{"bearer": []}, {}],
    "azure": [{"azureKey": []}, {"bearer": []}, {}],
    "anthropic": [{"apiKey": []}, {"bearer": []}, {}],
    "admin": [{"bearer": []}],
}
