"""The application: one list of routes, the hot paths before it, and the last resort around both."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.admission.api_keys import Keys
from gateway.admission.bad_keys import BadKeys
from gateway.admission.byte_budget import ByteBudget
from gateway.admission.death_guard import DeathGuard
from gateway.admission.isolation.cache_salts import CacheSalts
from gateway.admission.limits import Admission, share
from gateway.admission.lobby import Lobby
from gateway.admission.quotas.new_schemas import NewSchemas
from gateway.admission.quotas.quotas import Quotas
from gateway.admission.refused_keys import RefusedKeys
from gateway.agreement.link import RedisLink, check_client_installed
from gateway.audit import AuditLog
from gateway.config.document import Config, environment
from gateway.config.origins import Cors, OwnName, asked_by_a_page, preflight_headers
from gateway.dialects.parameters import Limits
from gateway.dialects.registry import DIALECTS, dialect_of_path, unknown_defaults
from gateway.endpoints.about import About
from gateway.endpoints.administration.commands import COMMANDS, AdminCommand, Administration, AdminStatus
from gateway.endpoints.administration.usage import AdminUsage
from gateway.endpoints.asgi import Head, send_error
from gateway.endpoints.azure import azure_routes
from gateway.endpoints.batches.batches import BatchEndpoints
from gateway.endpoints.inference import EngineEndpoint
from gateway.endpoints.models import ModelsEndpoint
from gateway.endpoints.observability import HealthEndpoint, MetricsEndpoint, ReadyEndpoint
from gateway.endpoints.openapi.endpoint import OpenApi
from gateway.endpoints.pipelines import PipelineEndpoint
from gateway.endpoints.refusals import HANDLERS
from gateway.endpoints.stored_responses import UnkeptResponse
from gateway.errors import Forbidden, internal_error
from gateway.grammar_trial.trials import GrammarTrials
from gateway.http.drain import Drain, shutting_down
from gateway.http.request_cycle import CLIENT
from gateway.metrics.counters import Metrics
from gateway.metrics.recent import after
from gateway.pipeline.compile import compile_pipelines
from gateway.relay.client_side import send_last_event
from gateway.relay.fallback.fallbacks import Fallbacks
from gateway.relay.fallback.provider import Provider
from gateway.relay.relay import Relay
from gateway.relay.shadow.copies import Shadow
from gateway.routing.cold_start import HEARTBEAT_S, WaitingRoom
from gateway.routing.control_socket import Control, ControlPlane
from gateway.routing.load_follower import LoadFollower
from gateway.routing.readiness import Readiness
from gateway.routing.redis_control import RedisControl
from gateway.routing.replicas import Replicas
from gateway.routing.retirement import Retirement
from gateway.routing.snapshot_follower import Follower
from gateway.scrape.scrape import Scrape
from gateway.traces.start import check_installed, tracer_of
from gateway.ui.page import Page
from gateway.upkeep import Upkeep
from gateway.usage.writer import UsageWriter

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
        self.upkeep = Upkeep(self.metrics.background_failure)
        self.replicas = Replicas(config, self._prepare)
        self.scrape = Scrape(self.metrics, self.replicas)
        self.readiness = Readiness(self.replicas)
        self.drain = Drain(self.replicas.break_off)
        self.admission = Admission(
            config,
            worker,
            self._waiting,
            on_resident=self.metrics.resident,
            waited_elsewhere=self.metrics.any_wait_elsewhere,
        )
        self.admission.choose_engine(self.replicas.choose_seat, self.replicas.seats)
        self.shadow = Shadow(self.replicas, self.admission, self.metrics, self.upkeep, worker)
        self.room = WaitingRoom(self.replicas, worker, heartbeat_s=heartbeat_s)
        self.fallbacks = Fallbacks(fallback or Provider(environment()), self.metrics)
        self.guard = DeathGuard(config.state_dir, bounds.max_cold_waiting, bounds.queue_timeout_s)
        self._audit = AuditLog(config.state_dir)
        self._refused = RefusedKeys(self._note_refused)
        self._bad_keys = BadKeys(bounds.max_bad_keys_per_minute, noted=self._note_bad_keys)
        self._keys = Keys(config.keys, config.models, required=bounds.keys_required, bad_keys=self._bad_keys)
        check_client_installed(config.shared)
        self._link = RedisLink(config.shared) if config.shared is not None else None
        self.quotas = Quotas(config, link=self._link)
        self._administration = Administration(self._keys, bounds, self._audit, self._refused)
        self._limits = Limits(config, self.replicas.context_tokens, lambda: self.replicas.snapshot)
        check_installed(bounds.traces)
        relay = self._relay = Relay(self.replicas, self.admission, self.guard)
        self._pipelines = self._pipeline_endpoint(relay, worker)
        self.bodies = ByteBudget(
            share(bounds.max_held_body_bytes, worker, bounds.workers), lambda: self._keys.several_payers
        )
        """What the large bodies of all requests take."""
        self.trials = GrammarTrials(NewSchemas(max(1, bounds.max_new_schemas_per_minute // bounds.workers)))
        self.express = self._engine_endpoints(relay)
        """For the own server: what serves requests of a path without a task, where nothing must wait."""
        self.batches = BatchEndpoints(
            self.express, self._keys, self.replicas, self.room, self.metrics, self.upkeep
        )
        self._page = Page(
            self._keys, self.replicas, self.metrics, self.quotas, self, self._administration.ask
        )
        self.uploads = {**self.batches.uploads, **self._page.uploads}
        """For the own server: paths whose bodies may take long, and how many bytes they may have."""
        self.cors = Cors(bounds.cors_origins) if bounds.cors_origins else None
        """For the own server, which writes what it says into every answer."""
        self.own_name = OwnName(self._keys, self.cors)
        """For the own server, which asks it before all else."""
        self.starlette = Starlette(
            routes=self._routes(), exception_handlers=HANDLERS, lifespan=self._lifespan
        )
        # Its redirect would come before `refusals`, which name the path that was meant.
        self.starlette.router.redirect_slashes = False
        _say_unwritten(config)

    def _pipeline_endpoint(self, relay: Relay, worker: int) -> PipelineEndpoint:
        config = self.replicas.config
        bounds = config.gateway
        return PipelineEndpoint(
            compile_pipelines(config),
            relay,
            self.metrics,
            self.shadow,
            self.fallbacks,
            Lobby(self.admission),
            ByteBudget(
                share(bounds.max_pipeline_bytes, worker, bounds.workers), lambda: self._keys.several_payers
            ),
        )

    def _engine_endpoints(self, relay: Relay) -> dict[str, EngineEndpoint]:
        """Every route that leads to the engine, by its path."""
        bounds, keys = self.replicas.config.gateway, self._keys
        salts = CacheSalts(self.replicas.config.state_dir, bounds.prefix_cache)
        return {
            dialect.path.decode(): EngineEndpoint(
                dialect,
                keys,
                self.quotas,
                relay,
                self._pipelines,
                bounds,
                self._limits,
                self.metrics,
                self.room,
                self.shadow,
                self.fallbacks,
                self.bodies,
                self.trials,
                salts,
                self._refused,
            )
            for dialect in DIALECTS
        }

    def _routes(self) -> list[Route]:
        """All of them, also those that `__call__` takes past the router."""
        keys, replicas, admin = self._keys, self.replicas, self._administration
        models = ModelsEndpoint(keys, replicas, self._limits)
        health = HealthEndpoint(keys, replicas, self.admission, self.room)
        counted = MetricsEndpoint(keys, self.scrape, replicas.config.gateway.public_metrics)
        kept = UnkeptResponse(keys)
        return [
            *(Route(path, endpoint=endpoint, methods=["POST"]) for path, endpoint in self.express.items()),
            Route("/v1/responses/{rest:path}", endpoint=kept, methods=["GET", "POST", "DELETE"]),
            Route("/v1/models", endpoint=models, methods=["GET"]),
            Route("/v1/models/{model:path}", endpoint=models, methods=["GET"]),
            Route("/", endpoint=About(list(self.express)), methods=["GET"]),
            *(Route(path, endpoint=health, methods=["GET"]) for path in ("/health", "/healthz", "/livez")),
            Route(
                "/ready",
                endpoint=ReadyEndpoint(keys, replicas, self.readiness, self.drain),
                methods=["GET"],
            ),
            Route("/metrics", endpoint=counted, methods=["GET"]),
            *(
                Route(f"/admin{one.path}", endpoint=AdminCommand(one, admin), methods=[one.method])
                for one in COMMANDS
            ),
            *azure_routes(self.express, models),
            *self.batches.routes(),
            Route("/admin/status", endpoint=AdminStatus(admin, replicas), methods=["GET"]),
            Route("/admin/usage", endpoint=AdminUsage(admin, replicas), methods=["GET"]),
            Route("/openapi.json", endpoint=OpenApi(), methods=["GET"]),
            *self._page.routes(),
        ]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """An exact POST path goes straight to its endpoint: Starlette's router costs as much as the relay."""
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1000})
            return
        if scope["type"] == "http" and scope["method"] == "OPTIONS":
            origin = asked_by_a_page(scope["headers"])
            if origin:
                await self._preflight(origin, scope, send)
                return
        if self.drain.begun and scope["type"] == "http" and scope["method"] not in ("GET", "HEAD"):
            await self._turn_away(scope, send)
            return
        endpoint: ASGIApp = self.starlette
        if scope["type"] == "http" and scope["method"] == "POST":
            endpoint = self.express.get(scope["path"], endpoint)
        try:
            await endpoint(scope, receive, send)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or not self.drain.over or scope["path"] not in self.express:
                raise
            task.uncancel()  # it was the server's, whose time is over; the client still listens
            await self._turn_away(scope, send)
        except Exception:
            if scope["type"] != "http":
                raise
            logger.exception("%s %r failed", scope["method"], scope["path"])
            fault = internal_error()
            try:
                await send_error(
                    send, fault, Head(scope["headers"]).request_id, dialect_of_path(scope["path"])
                )
            except RuntimeError:  # its answer was begun already: all that is left is to break it off
                raise fault from None

    async def _turn_away(self, scope: Scope, send: Send) -> None:
        """The 503 of a gateway that ends, in a stream that has begun as its last event."""
        path, request_id, error = scope["path"], Head(scope["headers"]).request_id, shutting_down()
        dialect = next((one for one in DIALECTS if one.path.decode() == path), dialect_of_path(path))
        # The own server alone begins a drain, so its client is there.
        if scope["extensions"][CLIENT].response_started:
            await send_last_event(send, dialect, dialect.error_body(error, request_id))
        else:
            await send_error(send, error, request_id, dialect)

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
            "that may, and none may call /admin or /ui.",
            code="origin_not_allowed",
        )
        await send_error(send, refusal, Head(scope["headers"]).request_id)

    def _note_bad_keys(self, address: str, count: int) -> None:
        self._audit.write_soon("unknown API key", address or "unknown address", 401, count=count)

    def _tenant_of(self, key: str) -> str:
        known = self.replicas.config.keys.get(key)
        return (known and known.tenant) or ""

    def _note_refused(self, key: str, code: str, status: int, count: int) -> None:
        self._audit.write_soon("refused", key or "no key", status, code=code, count=count)

    def _waiting(self, task: str, change: int) -> None:
        """A request waits for a place, or no longer does."""
        self.metrics.waiting(task, change)
        if change > 0:
            self.shadow.give_way()

    def _prepare(self, config: Config) -> Callable[[], None]:
        """Check another configuration's live sections; what is returned puts all of them in force at once.

        Pipelines stay compiled where another key, say, is all that came: requests wait meanwhile.
        """
        before = self.replicas.config
        stand = (config.pipelines, config.tasks) == (before.pipelines, before.tasks)
        pipelines = self._pipelines.pipelines if stand else compile_pipelines(config)

        def commit() -> None:
            # Without a wait in it: a request is served by all of the snapshot or by none of it.
            self._pipelines.pipelines = pipelines
            self._keys.replace(config.keys, config.models)
            self.admission.configure(config)
            self.quotas.configure(config)
            if not stand:
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
        control: ControlPlane = Control(self.replicas.config.state_dir)
        by_file = True
        if self._link is not None and self._link.follows:
            control = RedisControl(self._link, None if self._link.alone else control)
            by_file = False
        follower = Follower(
            control, self.replicas, self.admission, self.room, self.guard, self.upkeep, by_file=by_file
        )
        await follower.start()  # the server accepts after this: the first request meets the file's table
        self.metrics.recent.later = after(asyncio.get_running_loop())
        self.shadow.start()
        if self.replicas.config.gateway.follow_engines:
            self.upkeep.keep("engines' load", LoadFollower(self.replicas, self.admission).run)
        if self.quotas.shares is not None:
            self.upkeep.keep("shares", self.quotas.shares.run)
        usage = UsageWriter(self.metrics, self.replicas.config.state_dir, self._tenant_of)
        self.upkeep.keep("usage", usage.run)
        tracer = self._relay.tracer = tracer_of(self.replicas.config.gateway.traces)
        self.upkeep.keep("metrics", Retirement(self.metrics, self.replicas).run)
        self.fallbacks.configure(self.replicas.config)
        self._administration.control = control
        self.batches.start()
        try:
            yield
        finally:
            # What calls before what it calls: batches ask the endpoints.
            await self.batches.stop()
            self._administration.control = None
            await follower.stop()
            await self.shadow.stop()
            await self.fallbacks.stop()
            await self.readiness.stop()
            await self.scrape.stop()
            await self.replicas.stop()
            await self.upkeep.stop()
            await self.trials.stop()
            self._bad_keys.close()
            self._refused.close()
            await self._audit.written()
            # After `upkeep`, which takes shares, and while there is a way to give them back.
            await self.quotas.leave()
            if self._link is not None:
                await self._link.close()
            await usage.stop()  # all that has counted has ended by now
            self.metrics.recent.write_kept()  # the loop ends before it would
            if tracer is not None:
                await asyncio.to_thread(tracer.stop)  # it sends the last spans, and waits for the collector


def _say_unwritten(config: Config) -> None:
    """A task's default that an API has no parameter for is left out there."""
    for name, task in config.tasks.items():
        if not task.defaults:
            continue
        unknown = unknown_defaults(task.defaults)
        for key, text in unknown.items():
            logger.warning("tasks.%s.defaults.%s: %s", name, key, text)
        for dialect in DIALECTS:
            keys = dialect.unwritten(task.defaults.keys() - unknown.keys()) if dialect.generates else []
            if keys:
                path, listed = dialect.path.decode(), ", ".join(keys)
                logger.warning("tasks.%s.defaults: %s has no %s, so it is left out there", name, path, listed)
