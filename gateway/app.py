"""The application: one list of routes, the hot paths before it, and the last resort around both."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.admission.api_keys import Keys
from gateway.admission.bad_keys import BadKeys
from gateway.admission.death_guard import DeathGuard
from gateway.admission.limits import Admission
from gateway.admission.lobby import Lobby
from gateway.config.document import Config, environment
from gateway.config.origins import Cors, asked_by_a_page, preflight_headers
from gateway.dialects.chat.dialect import CHAT
from gateway.dialects.dialect import Dialect
from gateway.dialects.messages.dialect import MESSAGES
from gateway.dialects.parameters import Limits
from gateway.dialects.registry import DIALECTS
from gateway.endpoints.about import About
from gateway.endpoints.admin import COMMANDS, AdminCommand, Administration, AdminStatus
from gateway.endpoints.asgi import Head, send_error
from gateway.endpoints.azure import azure_routes
from gateway.endpoints.batches import Batches
from gateway.endpoints.inference import EngineEndpoint
from gateway.endpoints.models import Models
from gateway.endpoints.observability import Health, MetricsText, Ready
from gateway.endpoints.openapi.endpoint import OpenApi
from gateway.endpoints.pipelines import PipelineEndpoint
from gateway.endpoints.stored_responses import UnkeptResponse
from gateway.endpoints.wrong_path import meant_path
from gateway.errors import Forbidden, NotFound, internal_error
from gateway.http.request_cycle import Express
from gateway.metrics.counters import Metrics
from gateway.pipeline.compile import compile_pipelines
from gateway.relay.fallback.fallbacks import Fallbacks
from gateway.relay.fallback.provider import Provider
from gateway.relay.relay import Relay
from gateway.relay.shadow.copies import Shadow
from gateway.routing.cold_start import HEARTBEAT_S, WaitingRoom
from gateway.routing.control_socket import Control
from gateway.routing.replicas import Replicas
from gateway.routing.retirement import Retirement
from gateway.routing.snapshot_follower import Follower
from gateway.upkeep import Upkeep

logger = logging.getLogger("gateway.app")


class Gateway:
    """The whole data plane of one configuration, as an ASGI application.

    Raises ConfigError where a pipeline does not compile.
    """

    def __init__(
        self,
        config: Config,
        metrics: Metrics | None = None,
        worker: int = 0,
        *,
        heartbeat_s: float = HEARTBEAT_S,
        fallback: Provider | None = None,
    ) -> None:
        """`metrics` and `worker` are given where several workers share both counters and bounds."""
        bounds = config.gateway
        self.metrics = metrics or Metrics.single()
        self.replicas = Replicas(config, self._prepare)
        self.admission = Admission(
            config,
            worker,
            self._waiting,
            on_resident=self.metrics.resident,
            waited_elsewhere=self.metrics.any_wait_elsewhere,
        )
        self.upkeep = Upkeep(self.metrics.background_failure)
        self.shadow = Shadow(self.replicas, self.admission, self.metrics, self.upkeep, worker)
        self.room = WaitingRoom(self.replicas, worker, heartbeat_s=heartbeat_s)
        self.fallbacks = Fallbacks(fallback or Provider(environment()), self.metrics)
        self._keys = keys = Keys(
            config.keys,
            config.models,
            required=bounds.keys_required,
            bad_keys=BadKeys(bounds.max_bad_keys_per_minute),
        )
        _say_unwritten(config)
        self.guard = DeathGuard(config.state_dir, bounds.max_cold_waiting, bounds.cold_timeout_s)
        relay = Relay(self.replicas, self.admission, self.guard)
        self._pipelines = pipelines = PipelineEndpoint(
            compile_pipelines(config),
            relay,
            self.metrics,
            self.shadow,
            self.fallbacks,
            Lobby(self.admission),
        )
        limits = Limits(config, self.replicas.context_tokens, lambda: self.replicas.snapshot)
        hot = {
            dialect.path.decode(): EngineEndpoint(
                dialect,
                keys,
                relay,
                pipelines,
                bounds,
                limits,
                self.metrics,
                self.room,
                self.shadow,
                self.fallbacks,
            )
            for dialect in DIALECTS
        }
        self.batches = batches = Batches(hot, keys, self.replicas, self.room, self.metrics, self.upkeep)
        models = Models(keys, self.replicas, limits)
        health = Health(keys, self.replicas, self.admission, self.room)
        self._administration = admin = Administration(keys, bounds)
        routes = [
            *(Route(path, endpoint=endpoint, methods=["POST"]) for path, endpoint in hot.items()),
            Route(
                "/v1/responses/{rest:path}",
                endpoint=UnkeptResponse(keys),
                methods=["GET", "POST", "DELETE"],
            ),
            Route("/v1/models", endpoint=models, methods=["GET"]),
            Route("/v1/models/{model:path}", endpoint=models, methods=["GET"]),
            Route("/", endpoint=About(list(hot)), methods=["GET"]),
            *(Route(path, endpoint=health, methods=["GET"]) for path in ("/health", "/healthz", "/livez")),
            Route("/ready", endpoint=Ready(self.replicas), methods=["GET"]),
            Route(
                "/metrics",
                endpoint=MetricsText(keys, self.metrics, self.replicas, bounds.public_metrics),
                methods=["GET"],
            ),
            *(
                Route(f"/admin{one.path}", endpoint=AdminCommand(one, admin), methods=[one.method])
                for one in COMMANDS
            ),
            *azure_routes(hot, models),
            *batches.routes(),
            Route("/admin/status", endpoint=AdminStatus(admin, self.replicas), methods=["GET"]),
            Route("/openapi.json", endpoint=(openapi := OpenApi()), methods=["GET"]),
        ]
        self.starlette = Starlette(
            routes=routes, exception_handlers={HTTPException: _no_such_route}, lifespan=self._lifespan
        )
        self.starlette.router.redirect_slashes = False
        openapi.routes = self.starlette.routes
        self.cors = Cors(bounds.cors_origins) if bounds.cors_origins else None
        """For the own server, which writes what it says into every answer."""
        self._hot: Mapping[str, ASGIApp] = hot
        self.express: Mapping[str, Express] = hot
        """For the own server: what serves requests of a path without a task, where nothing must wait."""
        self.uploads = batches.uploads
        """For the own server: paths whose bodies may take long, and how many bytes they may have."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """An exact POST path goes straight to its endpoint: Starlette's router costs as much as the relay."""
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1000})
            return
        if scope["type"] == "http" and (origin := asked_by_a_page(scope["method"], scope["headers"])):
            await self._preflight(origin, scope, send)
            return
        endpoint: ASGIApp = self.starlette
        if scope["type"] == "http" and scope["method"] == "POST":
            endpoint = self._hot.get(scope["path"], endpoint)
        try:
            await endpoint(scope, receive, send)
        except Exception:
            if scope["type"] != "http":
                raise
            logger.exception("%s %r failed", scope["method"], scope["path"])
            fault = internal_error()
            try:
                await send_error(send, fault, Head(scope["headers"]).request_id, _dialect_of(scope["path"]))
            except RuntimeError:  # its answer was begun already: all that is left is to break it off
                raise fault from None

    async def _preflight(self, origin: bytes, scope: Scope, send: Send) -> None:
        """What a browser asks before it lets a page call; the server adds the page's origin itself."""
        if self.cors is not None and self.cors.allows(scope["path"], scope["headers"]):
            headers = [*preflight_headers(scope["headers"]), (b"content-length", b"0")]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            await send({"type": "http.response.body", "body": b""})
            return
        shown = origin[:100].decode("latin-1")
        refusal = Forbidden(
            f"A page of {shown!r} may not call {scope['path'][:100]}; gateway.cors_origins lists those "
            "that may, and none may call /admin.",
            code="origin_not_allowed",
        )
        await send_error(send, refusal, Head(scope["headers"]).request_id)

    def _waiting(self, task: str, change: int) -> None:
        """A request waits for a place, or no longer does."""
        self.metrics.waiting(task, change)
        if change > 0:
            self.shadow.give_way()

    def _prepare(self, config: Config) -> Callable[[], None]:
        """Check another configuration's live sections; what is returned puts all of them in force at once."""
        pipelines = compile_pipelines(config)

        def commit() -> None:
            self._pipelines.pipelines = pipelines
            self._keys.replace(config.keys, config.models)
            self.admission.configure(config)
            _say_unwritten(config)
            self.fallbacks.configure(config)

        return commit

    @asynccontextmanager
    async def _lifespan(self, app: Starlette) -> AsyncIterator[None]:
        async with self.following():
            yield

    @asynccontextmanager
    async def following(self) -> AsyncIterator[None]:
        """Follow the control plane in this event loop."""
        control = Control(self.replicas.config.state_dir)
        follower = Follower(control, self.replicas, self.admission, self.room, self.guard, self.upkeep)
        await follower.start()
        self.shadow.start()
        self.upkeep.keep("metrics", Retirement(self.metrics, self.replicas).run)
        self.fallbacks.configure(self.replicas.config)
        self._administration.control = control
        self.batches.start()
        try:
            yield
        finally:
            await self.batches.stop()
            self._administration.control = None
            await follower.stop()
            await self.shadow.stop()
            await self.fallbacks.stop()
            await self.replicas.stop()
            await self.upkeep.stop()


def _say_unwritten(config: Config) -> None:
    """A task's default that an API has no parameter for is left out there."""
    for name, task in config.tasks.items():
        for dialect in DIALECTS if task.defaults else ():
            keys = dialect.unwritten(task.defaults) if dialect.generates else []
            if keys:
                path, listed = dialect.path.decode(), ", ".join(keys)
                logger.warning("tasks.%s.defaults: %s has no %s, so it is left out there", name, path, listed)


def _dialect_of(path: str) -> Dialect:
    """Whose envelope an error on that path has."""
    return MESSAGES if path.startswith(MESSAGES.path.decode()) else CHAT


async def _no_such_route(request: Request, error: Exception) -> Response:
    """Starlette's own 404 and 405 in the envelope of the API whose path it is."""
    assert isinstance(error, HTTPException)
    path, method = request.scope["path"], request.scope["method"]
    if error.status_code == 405 and path != "/":  # whoever posts there has left out the path
        answer = NotFound(f"{path} does not take {method}.", status=405, code="method_not_allowed")
    else:
        taken = [route.path for route in request.app.routes if method in route.methods]
        meant = meant_path(path, taken)
        hint = f" Did you mean '{meant}'?" if meant else " GET /openapi.json lists every route."
        answer = NotFound(f"There is no route {method} {path}.{hint}")
    request_id = Head(request.scope["headers"]).request_id
    dialect = _dialect_of(path)
    headers = dict(error.headers or {}) | {"x-request-id": request_id.decode()}
    headers |= {name.decode(): value.decode() for name, value in dialect.id_headers(request_id)}
    return Response(
        dialect.error_body(answer, request_id), answer.status, headers, media_type="application/json"
    )
