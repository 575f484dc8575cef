"""`/v1/models` and `/v1/models/{id}`: base, tasks and pipelines, and what each of them supports."""

from __future__ import annotations

import datetime

from starlette.types import Receive, Scope, Send

from gateway.admission.api_keys import Keys, Principal
from gateway.dialects.messages.dialect import MESSAGES
from gateway.dialects.parameters import Limits
from gateway.dialects.registry import DIALECTS
from gateway.dialects.tokens.dialect import EMBEDDINGS
from gateway.endpoints.asgi import Head, send_error, send_json
from gateway.errors import RequestError
from gateway.routing.permission import permitted_route
from gateway.routing.replicas import Replicas
from gateway.routing.table import Route

JsonDocument = dict[str, object]


class ModelsEndpoint:
    """The models that the key may call, or one of them where the path names it.

    A client that sends `anthropic-version` gets Anthropic's form.
    """

    def __init__(self, keys: Keys, replicas: Replicas, limits: Limits) -> None:
        self._keys = keys
        self._replicas = replicas
        self._limits = limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        head = Head(scope["headers"])
        anthropic = any(name == b"anthropic-version" for name, _ in scope["headers"])
        dialect = MESSAGES if anthropic else None
        try:
            principal = self._keys.principal(head.authorization, head.api_keys, scope.get("client"))
            # No name ends with a slash, and clients that put addresses together leave one.
            name = scope.get("path_params", {}).get("model", "").rstrip("/") or None
            document = self._document(principal, name, anthropic)
        except RequestError as error:
            await send_error(send, error, head.request_id, dialect)
            return
        extra = MESSAGES.id_headers(head.request_id) if anthropic else None
        await send_json(send, document, head.request_id, extra=extra)

    def _document(self, principal: Principal, name: str | None, anthropic: bool) -> JsonDocument:
        table = self._replicas.table
        entry = self._anthropics if anthropic else self._entry
        if name is not None:
            return entry(permitted_route(table, principal, name), name)
        names = principal.visible(table.routes)
        listed = [entry(table.routes[model], model) for model in names]
        if not anthropic:
            return {"object": "list", "data": listed}
        ends = {"first_id": names[0], "last_id": names[-1]} if names else {"first_id": None, "last_id": None}
        return {"data": listed, "has_more": False, **ends}

    def _entry(self, route: Route, name: str) -> JsonDocument:
        """One model in OpenAI's form; `root` is the engine's id, `parent` the base."""
        base = next((r for r in self._replicas.table.routes.values() if r.kind == "base"), route)
        return {
            "id": name,
            "object": "model",
            "created": self._created(route),
            "owned_by": "lora-gateway",
            "kind": route.kind,
            "description": route.description,
            "root": route.adapter_id,
            "parent": base.name if route.kind == "task" else None,
            "max_model_len": self._replicas.context_tokens(),
            "endpoints": [path for path, generates in _PATHS if generates or route.kind != "pipeline"],
            "capabilities": self._capabilities(route),
            "schema": route.contract.schema,  # what a task's answers hold to
        }

    def _capabilities(self, route: Route) -> dict[str, bool]:
        """What a request may ask of it. An engine that is ready has completed a text, so it embeds none."""
        alone = route.kind != "pipeline"
        return {
            "streaming": True,
            "structured_output": alone,
            "tools": alone and self._limits.tools in ("", "all"),
            "reasoning": alone and self._limits.reasoning,
            "logprobs": alone,
            "embeddings": False,
        }

    def _anthropics(self, route: Route, name: str) -> JsonDocument:
        created = datetime.datetime.fromtimestamp(self._created(route), datetime.UTC)
        return {
            "type": "model",
            "id": name,
            "display_name": route.description or route.name,
            "created_at": created.isoformat().replace("+00:00", "Z"),
            "max_input_tokens": self._replicas.context_tokens(),
            "max_tokens": self._replicas.context_tokens(),
        }

    def _created(self, route: Route) -> int:
        model = self._replicas.engine_model(route.adapter_id)
        return model.created if model else 0


_PATHS = tuple((one.path.decode(), one.generates) for one in DIALECTS if one is not EMBEDDINGS)
