"""The control API: HTTP on a Unix socket that only its owner may open."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.config.snapshot import SOCKET, GatewayReport
from gateway.errors import NOT_JSON, ConfigError, EngineFailure, LoraGatewayError, RequestError, Unavailable
from launch.adapters.versions import unknown_task
from launch.supervisor.adapter_changes import Addition

if TYPE_CHECKING:
    from launch.supervisor.supervisor import Supervisor

logger = logging.getLogger("launch.supervisor.control_api")

LONGEST_PATH = 107
"""Bytes; the kernel's sockaddr_un holds no more."""
MAX_BODY_BYTES = 1 << 20
LAST_WORD_S = 1.0
STOPPED = "The control plane was stopped before this was done; nothing has changed."


def control_app(supervisor: Supervisor) -> Starlette:
    """Every route, in one list."""
    api = _Api(supervisor)
    return Starlette(
        routes=[
            Route("/state", api.state, methods=["GET"]),
            Route("/events", api.events, methods=["GET"]),
            Route("/gateways", api.report, methods=["POST"]),
            Route("/engines/start", api.start, methods=["POST"]),
            Route("/adapters", api.add, methods=["POST"]),
            Route("/adapters", api.adapters, methods=["GET"]),
            Route("/adapters/{task}", api.adapter, methods=["GET"]),
            Route("/adapters/{task}", api.remove, methods=["DELETE"]),
            Route("/adapters/{task}/promote", api.promote, methods=["POST"]),
            Route("/adapters/{task}/rollback", api.rollback, methods=["POST"]),
            Route("/tasks", api.tasks, methods=["GET"]),
            Route("/tasks/diff", api.diff, methods=["GET"]),
            Route("/tasks/{task}/reset", api.reset, methods=["POST"]),
            Route("/reload", api.reload, methods=["POST"]),
        ],
        exception_handlers={LoraGatewayError: _refused, Exception: _broken},
    )


class _Api:
    def __init__(self, supervisor: Supervisor) -> None:
        self._supervisor = supervisor

    async def state(self, _: Request) -> Response:
        return Response(self._supervisor.publisher.line, media_type="application/json")

    async def events(self, request: Request) -> Response:
        gateway = request.query_params.get("gateway", "")
        return StreamingResponse(self._events(gateway), media_type="application/x-ndjson")

    async def _events(self, gateway: str) -> AsyncIterator[bytes]:
        supervisor = self._supervisor
        if gateway:
            await supervisor.gateways.joined(gateway)
        try:
            async for line in supervisor.publisher.lines():
                yield line
        finally:
            if gateway:
                await supervisor.gateways.left(gateway)

    async def report(self, request: Request) -> Response:
        try:
            report = msgspec.json.decode(await _body(request), type=GatewayReport)
        except NOT_JSON as error:
            raise ConfigError("report", "", str(error)) from error
        await self._supervisor.gateways.report(report)
        return Response(status_code=204)

    async def start(self, request: Request) -> Response:
        fields = await _fields(request, {"force"})
        self._supervisor.start_engines(force=fields.get("force") is True)
        return Response(status_code=202)

    async def add(self, request: Request) -> Response:
        fields = await _fields(request, {"task", "source", "canary", "shadow", "system"})
        addition = Addition.of(fields)
        version, warnings = await self._supervisor.intake.add(addition)
        added = {"task": addition.task, "id": version.id, "warnings": warnings}
        return JSONResponse({**added, **self._task(addition.task)})

    async def adapters(self, _: Request) -> Response:
        snapshot = self._supervisor.publisher.snapshot
        return JSONResponse(
            {
                "tasks": msgspec.to_builtins(snapshot.tasks),
                "engines": [
                    {"name": one.name, "state": one.state, "slots": one.slots, "loaded": one.loaded}
                    for one in snapshot.engines
                ],
                "retiring": snapshot.retiring,
                "operations": msgspec.to_builtins(snapshot.operations),
            }
        )

    async def adapter(self, request: Request) -> Response:
        task = request.path_params["task"]
        return JSONResponse({"task": task, **self._task(task)})

    async def promote(self, request: Request) -> Response:
        fields = await _fields(request, {"id"})
        task = request.path_params["task"]
        await self._supervisor.intake.promote(task, _text(fields, "id"))
        return JSONResponse({"task": task, **self._task(task)})

    async def rollback(self, request: Request) -> Response:
        task = request.path_params["task"]
        await self._supervisor.intake.rollback(task)
        return JSONResponse({"task": task, **self._task(task)})

    async def remove(self, request: Request) -> Response:
        task = request.path_params["task"]
        adapter_id = request.query_params.get("id")
        await self._supervisor.intake.remove(task, adapter_id)
        supervisor = self._supervisor
        removed = task not in supervisor.desired
        document = {"task": task, "removed": adapter_id or task, "task_removed": removed}
        return JSONResponse({**document, "configured": task in supervisor.configured})

    async def tasks(self, _: Request) -> Response:
        """As they are wanted, with the names of those that commands changed or removed."""
        tasks = self._supervisor.publisher.snapshot.tasks
        changes = self._supervisor.diff()
        return JSONResponse(
            {
                "tasks": msgspec.to_builtins(tasks),
                "changed": [change["task"] for change in changes if change["wanted"] is not None],
                "removed": [change["task"] for change in changes if change["wanted"] is None],
            }
        )

    async def diff(self, _: Request) -> Response:
        return JSONResponse({"changes": self._supervisor.diff()})

    async def reset(self, request: Request) -> Response:
        task = request.path_params["task"]
        await self._supervisor.intake.reset(task)
        return JSONResponse({"task": task, "reset": True, **self._task(task)})

    async def reload(self, _: Request) -> Response:
        return JSONResponse(await self._supervisor.reloading.reload())

    def _task(self, task: str) -> dict[str, Any]:
        self._supervisor.publisher.publish()
        snapshot = self._supervisor.publisher.snapshot
        status = snapshot.tasks.get(task)
        if status is None:
            raise unknown_task(task, snapshot.tasks)
        document: dict[str, Any] = msgspec.to_builtins(status)
        loaded_on = {
            version.id: [engine.name for engine in snapshot.engines if version.id in engine.loaded]
            for version in status.versions
        }
        return {"version": snapshot.version, **document, "loaded_on": loaded_on}


async def _body(request: Request) -> bytes:
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > MAX_BODY_BYTES:
            raise ConfigError("body", "", f"is larger than {MAX_BODY_BYTES} bytes")
    return bytes(body)


async def _fields(request: Request, known: set[str]) -> dict[str, object]:
    body = await _body(request)
    try:
        fields = msgspec.json.decode(body or b"{}")  # no NaN and no half of a surrogate pair, unlike `json`
    except NOT_JSON as error:
        raise ConfigError("body", "", f"is not JSON: {error}") from error
    if not isinstance(fields, dict):
        raise ConfigError("body", "", "must be a JSON object")
    for name in fields:
        if name not in known:
            raise ConfigError(name, "", f"unknown field; known: {', '.join(sorted(known))}")
    return fields


def _text(fields: dict[str, object], name: str) -> str | None:
    value = fields.get(name)
    if value is not None and not isinstance(value, str):
        raise ConfigError(name, "", "must be text")
    return value


async def _refused(_: Request, error: Exception) -> Response:
    if isinstance(error, RequestError):
        return JSONResponse(error.envelope, status_code=error.status)
    kind, status, param = "invalid_request_error", 400, None
    if isinstance(error, EngineFailure):
        kind, status = "engine_error", 502
    elif isinstance(error, ConfigError):
        param = error.key
    code = "engine_error" if status == 502 else "invalid_value"
    envelope = {"error": {"message": str(error), "type": kind, "param": param, "code": code}}
    return JSONResponse(envelope, status_code=status)


async def _broken(request: Request, error: Exception) -> Response:
    logger.error("%s %s failed", request.method, request.url.path, exc_info=error)
    text = "The control plane failed on this request; its log says why."
    return JSONResponse(
        {"error": {"message": text, "type": "internal_error", "param": None, "code": "internal_error"}},
        status_code=500,
    )


@contextlib.contextmanager
def control_socket(state_dir: Path) -> Iterator[socket.socket]:
    """A listening socket of mode 0600 under its own name from the first moment. Raises ConfigError."""
    path = state_dir / SOCKET
    if len(os.fsencode(path)) > LONGEST_PATH:
        mend = (
            f"is too long for the control socket ({LONGEST_PATH} bytes with its name); choose a shorter one"
        )
        raise ConfigError("state_dir", str(state_dir), mend)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        path.unlink(missing_ok=True)  # of a life before: `sole_launch` says that nobody else is there
        before = os.umask(0o177)
        try:
            listener.bind(str(path))
        except OSError as error:
            raise ConfigError("state_dir", str(path), f"cannot be bound: {error.strerror}") from error
        finally:
            os.umask(before)
        listener.listen(128)
        try:
            yield listener
        finally:
            path.unlink(missing_ok=True)


class Ending:
    """The application at the control plane's end, when whatever still runs is cancelled.

    A request is told so, and a stream ends; a change that had to wait until then has not been made.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        begun = complete = False

        async def noted(message: Message) -> None:
            nonlocal begun, complete
            begun = True
            complete = message["type"] == "http.response.body" and not message.get("more_body", False)
            await send(message)

        try:
            await self._app(scope, receive, noted)
        except asyncio.CancelledError:
            with contextlib.suppress(TimeoutError):  # a client that reads nothing cannot hold up the end
                async with asyncio.timeout(LAST_WORD_S):
                    if not begun:
                        refusal = Unavailable(STOPPED, code="control_plane_gone")
                        await (await _refused(Request(scope), refusal))(scope, receive, send)
                    elif not complete:
                        await send({"type": "http.response.body", "body": b""})


class ControlServer(uvicorn.Server):
    """uvicorn inside the supervisor's loop, which has signal handlers of its own."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    @classmethod
    def of(cls, supervisor: Supervisor) -> ControlServer:
        settings = uvicorn.Config(
            Ending(control_app(supervisor)),
            http="httptools",
            loop="none",
            lifespan="off",
            access_log=False,
            log_level="warning",
            log_config=None,
            ws="none",
            timeout_keep_alive=60,  # uvicorn's 5 s cut off who stood still for a moment
            timeout_graceful_shutdown=1,
        )
        return cls(settings)
