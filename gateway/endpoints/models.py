"""`/v1/models` and `/v1/models/{id}`: base, tasks and pipelines, and what each of them supports."""

from __future__ import annotations

from starlette.types import Receive, Scope, Send

from gateway.admission.api_keys import Keys, Principal
from gateway.dialects.dialect import Dialect, Entry
from gateway.dialects.parameters import Limits
from gateway.dialects.registry import DIALECTS, dialect_of_headers
from gateway.dialects.tokens.dialect import EMBEDDINGS
from gateway.endpoints.asgi import Head, send_error, send_json
from gateway.errors import RequestError
from gateway.routing.permission import permitted_route
from gateway.routing.replicas import Replicas
from gateway.routing.table import Route


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
        dialect = dialect_of_headers(scope["headers"])
        try:
            principal = self._keys.principal(head.authorization, head.api_keys, scope.get("client"))
            # No name ends with a slash, and clients that put addresses together leave one. The base's own may
            # hold one, which SDKs encode; the server leaves that as it is, where it could part a path.
            name = scope.get("path_params", {}).get("model", "").replace("%2F", "/").rstrip("/") or None
            document = self._document(principal, name, dialect)
        except RequestError as error:
            await send_error(send, error, head.request_id, dialect)
            return
        await send_json(send, document, head.request_id, extra=dialect.id_headers(head.request_id))

    def _document(self, principal: Principal, name: str | None, dialect: Dialect) -> Entry:
        table = self._replicas.table
        if name is not None:
            return self._written(permitted_route(table, principal, name), name, dialect)
        names = principal.visible(table.routes)
        return dialect.model_list([self._written(table.routes[model], model, dialect) for model in names])

    def _written(self, route: Route, name: str, dialect: Dialect) -> Entry:
        return dialect.model_entry(self._entry(route, name), route.description or route.name)

    def _entry(self, route: Route, name: str) -> Entry:
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

    def _created(self, route: Route) -> int:
        model = self._replicas.engine_model(route.adapter_id)
        return model.created if model else 0


_PATHS = tuple((one.path.decode(), one.generates) for one in DIALECTS if one is not EMBEDDINGS)
