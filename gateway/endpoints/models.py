"""`/v1/models` and `/v1/models/{id}`: base, tasks and pipelines, and what each of them supports."""

from __future__ import annotations

import msgspec
from starlette.types import Receive, Scope, Send

from gateway.admission.api_keys import Keys, Principal
from gateway.dialects.dialect import Dialect, ListedModel
from gateway.dialects.parameters import Limits
from gateway.dialects.registry import DIALECTS, dialect_of_headers
from gateway.dialects.request_body import raw_of
from gateway.dialects.tokens.dialect import EMBEDDINGS
from gateway.endpoints.asgi import Head, send_error, send_json
from gateway.errors import RequestError
from gateway.routing.permission import permitted_route
from gateway.routing.replicas import Replicas
from gateway.routing.table import Route

Common = tuple[int | None, msgspec.Raw, msgspec.Raw]
"""The context's length, the endpoints and the capabilities."""
OfAll = tuple[str | None, dict[bool, Common]]
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

    def _document(self, principal: Principal, name: str | None, dialect: Dialect) -> object:
        table = self._replicas.table
        of_all = self._of_all()
        if name is not None:
            route = permitted_route(table, principal, name)
            return dialect.model_entry(self._listed(route, name, of_all))
        names = principal.visible(table.routes)
        return dialect.model_list([self._listed(table.routes[model], model, of_all) for model in names])

    def _of_all(self) -> OfAll:
        """What every model of a kind says alike, made once for a list that may have thousands."""
        base = next(
            (route.name for route in self._replicas.table.routes.values() if route.kind == "base"), None
        )
        return base, {alone: self._common(alone) for alone in (True, False)}

    def _listed(self, route: Route, name: str, of_all: OfAll) -> ListedModel:
        base, common = of_all
        kind = route.kind
        return ListedModel(
            name,
            "model",
            self._created(route),
            "lora-gateway",
            kind,
            route.description,
            route.adapter_id,
            (base or route.name) if kind == "task" else None,
            *common[kind != "pipeline"],
            route.contract.schema,
        )

    def _common(self, alone: bool) -> Common:
        """What a request may ask of a pipeline, or of a model `alone`. An engine that is ready has completed
        a text, so it embeds none.
        """
        endpoints = [path for path, generates in _PATHS if generates or alone]
        capabilities = {
            "streaming": True,
            "structured_output": alone,
            "tools": alone and self._limits.tools in ("", "all"),
            "reasoning": alone and self._limits.reasoning,
            "logprobs": alone,
            "embeddings": False,
        }
        return self._replicas.context_tokens(), raw_of(endpoints), raw_of(capabilities)

    def _created(self, route: Route) -> int:
        model = self._replicas.engine_model(route.adapter_id)
        return int(model.created or 0) if model else 0


_PATHS = tuple((one.path.decode(), one.generates) for one in DIALECTS if one is not EMBEDDINGS)
