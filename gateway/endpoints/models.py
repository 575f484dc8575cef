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

OfAll = tuple[str | None, dict[bool, Entry]]
"""The base's name, and what models say alike, by whether one is called alone."""


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
        of_all = self._of_all()
        if name is not None:
            return self._written(permitted_route(table, principal, name), name, dialect, of_all)
        names = principal.visible(table.routes)
        return dialect.model_list(
            [self._written(table.routes[model], model, dialect, of_all) for model in names]
        )

    def _of_all(self) -> OfAll:
        """What every model of a kind says alike, looked up once for a list that may have thousands."""
        base = next(
            (route.name for route in self._replicas.table.routes.values() if route.kind == "base"), None
        )
        return base, {alone: self._common(alone) for alone in (True, False)}

    def _written(self, route: Route, name: str, dialect: Dialect, of_all: OfAll) -> Entry:
        return dialect.model_entry(self._entry(route, name, of_all), route.description or route.name)

    def _entry(self, route: Route, name: str, of_all: OfAll) -> Entry:
        """One model in OpenAI's form; `root` is the engine's id, `parent` the base."""
        base, common = of_all
        return {
            "id": name,
            "object": "model",
            "created": self._created(route),
            "owned_by": "lora-gateway",
            "kind": route.kind,
            "description": route.description,
            "root": route.adapter_id,
            "parent": (base or route.name) if route.kind == "task" else None,
            **common[route.kind != "pipeline"],
            "schema": route.contract.schema,  # what a task's answers hold to
        }

    def _common(self, alone: bool) -> Entry:
        """What a request may ask of a pipeline, or of a model `alone`. An engine that is ready has completed
        a text, so it embeds none.
        """
        return {
            "max_model_len": self._replicas.context_tokens(),
            "endpoints": [path for path, generates in _PATHS if generates or alone],
            "capabilities": {
                "streaming": True,
                "structured_output": alone,
                "tools": alone and self._limits.tools in ("", "all"),
                "reasoning": alone and self._limits.reasoning,
                "logprobs": alone,
                "embeddings": False,
            },
        }

    def _created(self, route: Route) -> int:
        model = self._replicas.engine_model(route.adapter_id)
        return model.created if model else 0


_PATHS = tuple((one.path.decode(), one.generates) for one in DIALECTS if one is not EMBEDDINGS)
