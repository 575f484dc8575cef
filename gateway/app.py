"""The application: one list of routes, one list of middleware, and the hot paths before both."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.config import Config
from gateway.endpoints.health import Health, Ready
from gateway.endpoints.models import Models
from gateway.endpoints.openai import Completions
from gateway.endpoints.pipelines import PipelineEndpoint
from gateway.endpoints.reply import request_id_of, send_error
from gateway.errors import NotFound, RequestError
from gateway.limits import Admission
from gateway.pipeline.spec import compile_pipelines
from gateway.relay import Relay
from gateway.replicas import Replicas

logger = logging.getLogger("gateway.app")

HOT_PATHS = ("/v1/chat/completions", "/v1/completions")


class Gateway:
    """The whole data plane of one configuration, as an ASGI application.

    Raises ConfigError where a pipeline does not compile.
    """

    def __init__(self, config: Config) -> None:
        self.replicas = Replicas(config)
        self.admission = Admission(config.gateway)
        relay = Relay(self.replicas, self.admission)
        pipelines = PipelineEndpoint(compile_pipelines(config), relay)
        hot = {path: Completions(path, relay, pipelines, config.gateway) for path in HOT_PATHS}
        models = Models(self.replicas)
        routes = [
            *(Route(path, endpoint=endpoint, methods=["POST"]) for path, endpoint in hot.items()),
            Route("/v1/models", endpoint=models, methods=["GET"]),
            Route("/v1/models/{model:path}", endpoint=models, methods=["GET"]),
            Route("/health", endpoint=Health(self.replicas, self.admission), methods=["GET"]),
            Route("/ready", endpoint=Ready(self.replicas), methods=["GET"]),
        ]
        self.starlette = Starlette(
            routes=routes, exception_handlers={HTTPException: _no_such_route}, lifespan=self._lifespan
        )
        self.starlette.router.redirect_slashes = False
        self._app: ASGIApp = Guard(HotPaths(self.starlette, hot))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app(scope, receive, send)

    @asynccontextmanager
    async def _lifespan(self, app: Starlette) -> AsyncIterator[None]:
        await self.replicas.start()
        try:
            yield
        finally:
            await self.replicas.stop()


class HotPaths:
    """An exact POST path goes straight to its endpoint: Starlette's router costs as much as the relay."""

    def __init__(self, app: ASGIApp, endpoints: Mapping[str, ASGIApp]) -> None:
        self._app = app
        self._endpoints = endpoints

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] == "POST":
            endpoint = self._endpoints.get(scope["path"])
            if endpoint is not None:
                await endpoint(scope, receive, send)
                return
        await self._app(scope, receive, send)


class Guard:
    """The last resort: a fault of ours is a 500 in the usual envelope, and its trace goes to the log."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1000})
            return
        started = False

        async def watched(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self._app(scope, receive, watched)
        except Exception:
            if scope["type"] != "http" or started:
                raise
            logger.exception("%s %s failed", scope["method"], scope["path"])
            fault = RequestError(
                "The gateway failed on this request; its log says why.", code="internal_error"
            )
            await send_error(send, fault, request_id_of(scope))


async def _no_such_route(request: Request, error: Exception) -> Response:
    """Starlette's own 404 and 405 in OpenAI's envelope."""
    assert isinstance(error, HTTPException)
    path, method = request.scope["path"], request.scope["method"]
    if error.status_code == 405:
        answer = NotFound(f"{path} does not take {method}.", status=405, code="method_not_allowed")
    else:
        answer = NotFound(f"There is no route {method} {path}.")
    headers = dict(error.headers or {}) | {"x-request-id": request_id_of(request.scope).decode()}
    return JSONResponse(answer.envelope, status_code=answer.status, headers=headers)
