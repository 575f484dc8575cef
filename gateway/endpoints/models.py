"""`/v1/models` and `/v1/models/{id}`: base, tasks and pipelines."""

from __future__ import annotations

from starlette.types import Receive, Scope, Send

from gateway.auth import Keys, Principal, permitted_route
from gateway.endpoints.reply import Head, send_error, send_json
from gateway.errors import RequestError
from gateway.replicas import Replicas
from gateway.table import Route

JsonDocument = dict[str, object]


class Models:
    """The models that the key may call, or one of them where the path names it."""

    def __init__(self, keys: Keys, replicas: Replicas) -> None:
        self._keys = keys
        self._replicas = replicas

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        head = Head(scope["headers"])
        try:
            document = self._document(
                self._keys.principal(head.authorization), scope.get("path_params", {}).get("model")
            )
        except RequestError as error:
            await send_error(send, error, head.request_id)
            return
        await send_json(send, document, head.request_id)

    def _document(self, principal: Principal, name: str | None) -> JsonDocument:
        table = self._replicas.table
        if name is not None:
            return self._entry(permitted_route(table, principal, name))
        listed = [self._entry(table.routes[model]) for model in principal.visible(table.routes)]
        return {"object": "list", "data": listed}

    def _entry(self, route: Route) -> JsonDocument:
        """One model in OpenAI's form; `root` is the engine's id, `parent` the base."""
        engine_model = self._replicas.engine_model(route.adapter_id)
        base = next((r for r in self._replicas.table.routes.values() if r.kind == "base"), route)
        base_model = self._replicas.engine_model(base.adapter_id)
        return {
            "id": route.name,
            "object": "model",
            "created": engine_model.created if engine_model else 0,
            "owned_by": "lora-gateway",
            "kind": route.kind,
            "description": route.description,
            "root": route.adapter_id,
            "parent": base.name if route.kind == "task" else None,
            "max_model_len": base_model.max_model_len if base_model else None,
        }
