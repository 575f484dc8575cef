"""The control API's routes; each calls the supervisor and decides nothing itself."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import msgspec
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from gateway.config.key_settings import BY, ISSUED_FIELDS
from gateway.config.snapshot import GatewayReport
from gateway.errors import NOT_JSON, ConfigError, LoraGatewayError
from launch.adapters.versions import unknown_task
from launch.supervisor.adapter_changes import Addition
from launch.supervisor.control_server import refused
from launch.supervisor.supervisor import Supervisor

logger = logging.getLogger("launch.supervisor.control_api")

MAX_BODY_BYTES = 1 << 20
COMMAND_LINE = "command line"
TOLD_WITHIN_S = 2.0
"""So long a change is held back for gateways that have not said that they route by it. They say so at once,
over Redis after the quarter of a second in which reports are collected."""


def control_app(supervisor: Supervisor) -> Starlette:
    """Every route, in one list."""
    api = _Api(supervisor)
    return Starlette(
        routes=[
            Route("/state", api.state, methods=["GET"]),
            Route("/events", api.events, methods=["GET"]),
            Route("/gateways", api.report, methods=["POST"]),
            Route("/engines/start", api.start, methods=["POST"]),
            Route("/adapters", api.told(api.add), methods=["POST"]),
            Route("/adapters", api.adapters, methods=["GET"]),
            Route("/adapters/{task}", api.adapter, methods=["GET"]),
            Route("/adapters/{task}", api.told(api.remove), methods=["DELETE"]),
            Route("/adapters/{task}/promote", api.told(api.promote), methods=["POST"]),
            Route("/adapters/{task}/rollback", api.told(api.rollback), methods=["POST"]),
            Route("/tasks", api.tasks, methods=["GET"]),
            Route("/tasks/diff", api.diff, methods=["GET"]),
            Route("/tasks/{task}/reset", api.told(api.reset), methods=["POST"]),
            Route("/keys", api.keys, methods=["GET"]),
            Route("/keys", api.told(api.create_key), methods=["POST"]),
            Route("/keys/{name}", api.key, methods=["GET"]),
            Route("/keys/{name}", api.told(api.revoke_key), methods=["DELETE"]),
            Route("/keys/{name}/limits", api.told(api.limit_key), methods=["PUT"]),
            Route("/keys/{name}/rotate", api.told(api.rotate_key), methods=["POST"]),
            Route("/placement", api.placement, methods=["GET"]),
            Route("/reload", api.told(api.reload), methods=["POST"]),
        ],
        exception_handlers={LoraGatewayError: refused, Exception: _broken},
    )


class _Api:
    def __init__(self, supervisor: Supervisor) -> None:
        self._supervisor = supervisor

    def told(
        self, change: Callable[[Request], Awaitable[Response]]
    ) -> Callable[[Request], Awaitable[Response]]:
        """That change, answered once every gateway that listens routes by it: who reads the answer and then
        asks is served by what the answer says.
        """

        async def changed(request: Request) -> Response:
            response = await change(request)  # published by now; the version may be a later one's
            supervisor = self._supervisor
            version = supervisor.publisher.snapshot.version
            if not await supervisor.gateways.told(version, TOLD_WITHIN_S):
                logger.warning(
                    "%s %s: a gateway has not taken over version %d of the table after %g s",
                    request.method,
                    request.url.path,
                    version,
                    TOLD_WITHIN_S,
                )
            return response

        return changed

    async def state(self, _: Request) -> Response:
        return Response(self._supervisor.publisher.line, media_type="application/json")

    async def events(self, request: Request) -> Response:
        gateway = request.query_params.get("gateway", "")
        return StreamingResponse(self._events(gateway), media_type="application/x-ndjson")

    async def _events(self, gateway: str) -> AsyncIterator[bytes]:
        supervisor = self._supervisor
        if gateway:  # before its first line: a change that is made meanwhile waits for it too
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
        self._supervisor.engines.start(force=fields.get("force") is True)
        return Response(status_code=202)

    async def add(self, request: Request) -> Response:
        fields = await _fields(request, {"task", "source", "canary", "shadow", "system", "tenant"})
        addition = Addition.of(fields)
        version, warnings = await self._supervisor.changes.add(addition)
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
        await self._supervisor.changes.promote(task, _text(fields, "id"))
        return JSONResponse({"task": task, **self._task(task)})

    async def rollback(self, request: Request) -> Response:
        task = request.path_params["task"]
        await self._supervisor.changes.rollback(task)
        return JSONResponse({"task": task, **self._task(task)})

    async def remove(self, request: Request) -> Response:
        task = request.path_params["task"]
        adapter_id = request.query_params.get("id")
        await self._supervisor.changes.remove(task, adapter_id)
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
        await self._supervisor.changes.reset(task)
        return JSONResponse({"task": task, "reset": True, **self._task(task)})

    async def keys(self, _: Request) -> Response:
        return JSONResponse({"keys": self._supervisor.issued_keys.list()})

    async def create_key(self, request: Request) -> Response:
        fields = await _fields(request, {*ISSUED_FIELDS, BY})
        key, document = self._supervisor.issued_keys.create(fields, _text(fields, BY) or COMMAND_LINE)
        return JSONResponse({"key": key, **document})

    async def key(self, request: Request) -> Response:
        return JSONResponse(self._supervisor.issued_keys.show(request.path_params["name"]))

    async def revoke_key(self, request: Request) -> Response:
        return JSONResponse(self._supervisor.issued_keys.revoke(request.path_params["name"]))

    async def limit_key(self, request: Request) -> Response:
        fields = await _fields(request, {"limits", BY})
        return JSONResponse(self._supervisor.issued_keys.limit(request.path_params["name"], fields))

    async def rotate_key(self, request: Request) -> Response:
        fields = await _fields(request, {"keep_s", "expires_in_s", BY})
        key, document = self._supervisor.issued_keys.rotate(request.path_params["name"], fields)
        return JSONResponse({"key": key, **document})

    async def placement(self, _: Request) -> Response:
        return JSONResponse(self._supervisor.mover.shown())

    async def reload(self, _: Request) -> Response:
        return JSONResponse(await self._supervisor.reloading.reload())

    def _task(self, task: str) -> dict[str, Any]:
        self._supervisor.publisher.publish()  # what has changed in this turn would follow the answer
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


async def _broken(request: Request, error: Exception) -> Response:
    logger.error("%s %s failed", request.method, request.url.path, exc_info=error)
    text = "The control plane failed on this request; its log says why."
    return JSONResponse(
        {"error": {"message": text, "type": "internal_error", "param": None, "code": "internal_error"}},
        status_code=500,
    )
