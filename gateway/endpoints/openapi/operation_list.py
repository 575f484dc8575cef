"""Every route that a gateway may have, as the document tells of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from pydantic import BaseModel

from gateway.config.document import JsonObject
from gateway.config.limit_settings import LimitConfig
from gateway.dialects.dialect import Dialect
from gateway.dialects.messages import described as messages
from gateway.dialects.registry import DEPLOYED, DIALECTS
from gateway.dialects.responses import described as responses
from gateway.endpoints.openapi import answer_models
from gateway.endpoints.openapi.answer_models import Error
from gateway.endpoints.openapi.operation import OperationObject
from gateway.endpoints.openapi.request_schemas import request_schema

_REFUSED = (401, 403, 404)
_OF_FILES = (401, 404, 503)
_PAGE: tuple[tuple[str, JsonObject], ...] = (
    ("after", {"type": "string"}),
    ("limit", {"type": "integer", "minimum": 1}),
)
_UPLOAD: JsonObject = {
    "type": "object",
    "properties": {
        "file": {"type": "string", "contentMediaType": "application/octet-stream"},
        "purpose": {"enum": ["batch"]},
        "expires_after[anchor]": {"enum": ["created_at"]},
        "expires_after[seconds]": {"type": "integer"},
    },
    "required": ["file", "purpose"],
}
_BATCH: JsonObject = {
    "type": "object",
    "properties": {
        "input_file_id": {"type": "string"},
        "endpoint": {"type": "string", "description": "The path that every line is sent to."},
        "completion_window": {"enum": ["24h"]},
        "metadata": {"type": ["object", "null"], "additionalProperties": {"type": "string"}},
        "output_expires_after": {"type": ["object", "null"]},
    },
    "required": ["input_file_id", "endpoint", "completion_window"],
    "additionalProperties": False,
}


def _of_engine(dialect: Dialect) -> OperationObject:
    described = dialect.described
    return OperationObject(
        "POST",
        dialect.path.decode(),
        described.name,
        described.tag,
        described.summary,
        described.answer,
        access="anthropic" if dialect.api_key_header else "key",
        body=request_schema(dialect),
        streams=dialect.generates,
        engine=True,
        envelope=described.error or Error,
    )


def _azures(dialect: Dialect) -> tuple[OperationObject, ...]:
    """The same under Azure's paths; where that names the model, the body need not."""
    own = _of_engine(dialect)
    suffix = own.path.removeprefix("/v1")
    if suffix not in DEPLOYED:
        return ()
    assert own.body is not None
    required = own.body["required"]
    assert isinstance(required, list)
    body: JsonObject = {**own.body, "required": [name for name in required if name != "model"]}
    path = f"/openai/deployments/{{task}}{suffix}"
    plain = replace(own, tag="Azure", access="azure")
    found = (
        replace(plain, path=path, name=f"{own.name}OfDeployment", body=body),
        replace(plain, path=f"/openai{own.path}", name=f"{own.name}ForAzure"),
    )
    if suffix != "/responses":
        return found
    return (*found, replace(plain, path=f"/openai{suffix}", name=f"{own.name}ByAzure"))


def _models(path: str, name: str, *, one: bool = False) -> OperationObject:
    answer = answer_models.Model if one else answer_models.Models
    return OperationObject(
        "GET", path, name, "Azure", "As under /v1.", answer, _REFUSED if one else (401,), "azure"
    )


def _unkept(method: str, name: str) -> OperationObject:
    return OperationObject(
        method,
        "/v1/responses/{rest}",
        name,
        "OpenAI",
        "No response is kept, so there is none: always 404.",
        responses.Response,
        (401, 404),
    )


def _file(method: str, path: str, name: str, summary: str, answer: type[BaseModel] | str) -> OperationObject:
    return OperationObject(method, path, name, "Batches", summary, answer, _OF_FILES)


def _batch(method: str, path: str, name: str, summary: str) -> OperationObject:
    errors = (401, 404, 503) if method == "GET" else (401, 404, 409, 503)
    return OperationObject(method, path, name, "Batches", summary, answer_models.Batch, errors)


def _admin(
    method: str, path: str, name: str, summary: str, fields: Mapping[str, JsonObject] | None = None
) -> OperationObject:
    body: JsonObject | None = None
    if fields is not None:
        body = {"type": "object", "properties": dict(fields), "additionalProperties": False}
    query: tuple[tuple[str, JsonObject], ...] = ()
    if method == "DELETE" and path.startswith("/adapters"):
        query = (("id", {"type": "string", "pattern": "^[A-Za-z0-9][A-Za-z0-9._-]{0,62}@[0-9a-f]{12}$"}),)
    if path == "/usage":
        query = (("by", {"type": "string"}), ("since", {"type": "string"}))
    return OperationObject(
        method,
        f"/admin{path}",
        name,
        "Administration",
        summary,
        answer_models.Administered,
        (401, 403, 404, 409, 413, 415, 502, 503, 504),
        "admin",
        body,
        query=query,
    )


_TEXT: JsonObject = {"type": ["string", "null"]}
_NUMBER: JsonObject = {"type": ["number", "null"]}
_LIMITS: JsonObject = LimitConfig.model_json_schema() | {"type": ["object", "null"]}
_KEY: Mapping[str, JsonObject] = {
    "name": {"type": "string"},
    "tasks": {"type": ["array", "null"], "items": {"type": "string"}},
    "role": {"enum": ["user", "operator", "admin", None]},
    "tenant": _TEXT,
    "limits": _LIMITS,
    "metrics": {"type": ["boolean", "null"]},
    "expires_in_s": _NUMBER,
}
_ADD: Mapping[str, JsonObject] = {
    "task": {"type": "string"},
    "source": {"type": "string"},
    "system": _TEXT,
    "canary": {},
    "shadow": {},
}

OPERATIONS: tuple[OperationObject, ...] = (
    *(_of_engine(dialect) for dialect in DIALECTS),
    *(one for dialect in DIALECTS for one in _azures(dialect)),
    _models("/openai/models", "listModelsByAzure"),
    _models("/openai/v1/models", "listModelsForAzure"),
    _models("/openai/v1/models/{model}", "getModelForAzure", one=True),
    _unkept("GET", "getResponse"),
    _unkept("POST", "changeResponse"),
    _unkept("DELETE", "deleteResponse"),
    OperationObject(
        "GET",
        "/v1/models",
        "listModels",
        "OpenAI",
        "The models that the key may call; in Anthropic's form where anthropic-version is sent.",
        (answer_models.Models, messages.AnthropicModels),
        (401,),
    ),
    OperationObject(
        "GET",
        "/v1/models/{model}",
        "getModel",
        "OpenAI",
        "One model.",
        (answer_models.Model, messages.AnthropicModel),
        _REFUSED,
    ),
    OperationObject(
        "POST",
        "/v1/files",
        "createFile",
        "Batches",
        "Upload the lines of a batch.",
        answer_models.File,
        (401, 403, 413, 415, 429, 503),
        body=_UPLOAD,
        body_type="multipart/form-data",
    ),
    OperationObject(
        "GET",
        "/v1/files",
        "listFiles",
        "Batches",
        "The key's files.",
        answer_models.Files,
        (401, 404, 503),
        query=(*_PAGE, ("order", {"enum": ["asc", "desc"]}), ("purpose", {"type": "string"})),
    ),
    _file("GET", "/v1/files/{id}", "getFile", "One file.", answer_models.File),
    _file("DELETE", "/v1/files/{id}", "deleteFile", "Delete a file.", answer_models.DeletedFile),
    _file("GET", "/v1/files/{id}/content", "getFileContent", "What stands in it.", "application/jsonl"),
    OperationObject(
        "POST",
        "/v1/batches",
        "createBatch",
        "Batches",
        "Run the lines of a file, behind live requests.",
        answer_models.Batch,
        (401, 404, 413, 415, 429, 503),
        body=_BATCH,
    ),
    OperationObject(
        "GET",
        "/v1/batches",
        "listBatches",
        "Batches",
        "The key's batches.",
        answer_models.Batches,
        (401, 404, 503),
        query=_PAGE,
    ),
    _batch("GET", "/v1/batches/{id}", "getBatch", "One batch."),
    _batch("POST", "/v1/batches/{id}/cancel", "cancelBatch", "Cancel a batch."),
    OperationObject(
        "GET", "/", "getAbout", "Operation", "What answers here.", answer_models.Administered, (), "open"
    ),
    *(
        OperationObject(
            "GET", path, name, "Operation", "The process is alive.", answer_models.Health, (), "open"
        )
        for path, name in (
            ("/health", "getHealth"),
            ("/healthz", "getHealthz"),
            ("/livez", "getLivez"),
        )
    ),
    OperationObject(
        "GET", "/ready", "getReady", "Operation", "A completion worked.", answer_models.Ready, (503,), "open"
    ),
    OperationObject(
        "GET", "/metrics", "getMetrics", "Operation", "In Prometheus' form.", "text/plain", (401, 403), "key"
    ),
    OperationObject(
        "GET",
        "/openapi.json",
        "getOpenApi",
        "Operation",
        "This document; it names no model, so it needs no key.",
        answer_models.Administered,
        (),
        "open",
    ),
    _admin("GET", "/adapters", "listAdapters", "Every task's adapters."),
    _admin("POST", "/adapters", "addAdapter", "Fetch, check, load, prove and use an adapter.", _ADD),
    _admin("GET", "/adapters/{task}", "getAdapters", "One task's adapters."),
    _admin("DELETE", "/adapters/{task}", "removeAdapters", "Remove a task, or one version of it."),
    _admin("POST", "/adapters/{task}/promote", "promoteAdapter", "All requests to it.", {"id": _TEXT}),
    _admin("POST", "/adapters/{task}/rollback", "rollBackAdapter", "Back to the version before.", {}),
    _admin("GET", "/tasks", "listTasks", "The tasks as they are wanted."),
    _admin("GET", "/tasks/diff", "diffTasks", "What commands changed of the configuration."),
    _admin("POST", "/tasks/{task}/reset", "resetTask", "Back to the configuration.", {}),
    _admin("GET", "/keys", "listKeys", "Every key, without its secret."),
    _admin("POST", "/keys", "createKey", "Make a key; its secret is in this answer alone.", _KEY),
    _admin("GET", "/keys/{name}", "getKey", "One key, without its secret."),
    _admin("DELETE", "/keys/{name}", "revokeKey", "Refuse a key from now on."),
    _admin("PUT", "/keys/{name}/limits", "limitKey", "Other rates and budgets.", {"limits": _LIMITS}),
    _admin(
        "POST",
        "/keys/{name}/rotate",
        "rotateKey",
        "Another secret for the key.",
        {"keep_s": _NUMBER, "expires_in_s": _NUMBER},
    ),
    _admin("GET", "/placement", "getPlacement", "Which engine has which adapters, why, and what was moved."),
    _admin("POST", "/reload", "reload", "Read the configuration again.", {}),
    _admin("GET", "/status", "getStatus", "The snapshot that this gateway routes by."),
    _admin("GET", "/usage", "getUsage", "Tokens and requests by key, tenant, task, adapter or day."),
)
