"""`/v1/models` and `/v1/models/{id}`: base, tasks and pipelines."""

from __future__ import annotations

from starlette.types import Receive, Scope, Send

from gateway.endpoints.reply import request_id_of, send_error, send_json
from gateway.errors import ModelNotFound
from gateway.replicas import Replicas
from gateway.table import Route

JsonDocument = dict[str, object]


class Models:
    """The list of models, or one of them where the path names it."""

    def __init__(self, replicas: Replicas) -> None:
        self._replicas = replicas

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request_id = request_id_of(scope)
        routes = self._replicas.table.routes
        name = scope.get("path_params", {}).get("model")
        if name is None:
            listed = [self._entry(route) for route in routes.values()]
            await send_json(send, {"object": "list", "data": listed}, request_id)
            return
        route = routes.get(name)
        if route is None:
            await send_error(send, ModelNotFound.naming(name, routes), request_id)
            return
        await send_json(send, self._entry(route), request_id)

    def _entry(self, route: Route) -> JsonDocument:
        """One model in OpenAI's form; `root` is the engine's id, `parent` the base."""
        current = self._replicas.current
        models = current.models if current else {}
        engine_model = models.get(route.adapter_id or "")
        base = next((r for r in self._replicas.table.routes.values() if r.kind == "base"), route)
        base_model = models.get(base.adapter_id or "")
        return {
            "id": route.name,
            "object": "model",
            "created": engine_model.created if engine_model else int(self._replicas.report.started_at),
            "owned_by": "lora-gateway",
            "kind": route.kind,
            "description": route.description,
            "root": route.adapter_id,
            "parent": base.name if route.kind == "task" else None,
            "max_model_len": base_model.max_model_len if base_model else None,
        }
