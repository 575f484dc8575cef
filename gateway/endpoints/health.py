"""`/health` (the process is alive) and `/ready` (a real completion worked)."""

from __future__ import annotations

from starlette.types import Receive, Scope, Send

from gateway.cold import WaitingRoom
from gateway.endpoints.reply import Head, send_error, send_json
from gateway.errors import Unavailable
from gateway.limits import Admission
from gateway.replicas import Replicas


class Health:
    """Alive: 200 as long as the process answers, with what is going on."""

    def __init__(self, replicas: Replicas, admission: Admission, room: WaitingRoom) -> None:
        self._replicas = replicas
        self._admission = admission
        self._room = room

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        engines = [
            {"name": one.name, "state": one.state, "stage": one.stage, "reason": one.reason}
            for one in self._replicas.snapshot.engines
        ]
        document = {
            "status": "ok",
            "engine": engines[0]["state"] if engines else "stopped",
            "stage": engines[0]["stage"] if engines else "",
            "engines": engines,
            "control_plane": self._replicas.control_alive,
            "waiting_cold": self._room.waiting,
            "residency": self._admission.residency(),
            "in_flight": self._admission.in_flight,
            "waiting": self._admission.waiting,
            "open_connections": self._replicas.open_connections,
        }
        await send_json(send, document, Head(scope["headers"]).request_id)


class Ready:
    """Ready: 200 when the engine has just completed a request, else 503 with Retry-After."""

    def __init__(self, replicas: Replicas) -> None:
        self._replicas = replicas

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request_id = Head(scope["headers"]).request_id
        if await self._replicas.proven():
            await send_json(send, {"status": "ready"}, request_id)
            return
        error = self._replicas.unavailable()
        if self._replicas.current is not None:
            error = Unavailable(
                "The engine does not complete a request.", code="engine_unready", retry_after_s=5
            )
        await send_error(send, error, request_id)
