"""`/health` (the process is alive), `/ready` (a real completion worked), `/metrics` (what was counted)."""

from __future__ import annotations

from starlette.types import Receive, Scope, Send

from gateway.admission.api_keys import Keys, Peer
from gateway.admission.limits import Admission
from gateway.config.snapshot import EngineStatus
from gateway.endpoints.asgi import Head, send_json
from gateway.errors import Forbidden, RequestError, Unavailable
from gateway.http.drain import Drain, shutting_down
from gateway.routing.availability import open_stage
from gateway.routing.cold_start import WaitingRoom
from gateway.routing.readiness import Readiness
from gateway.routing.replicas import Replicas
from gateway.scrape.scrape import Scrape


class HealthEndpoint:
    """Alive: 200 as long as the process answers, with what is going on.

    It needs no key. Reasons, memory and adapters' names are for a caller who may call every model.
    """

    def __init__(self, keys: Keys, replicas: Replicas, admission: Admission, room: WaitingRoom) -> None:
        self._keys = keys
        self._replicas = replicas
        self._admission = admission
        self._room = room

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        head = Head(scope["headers"])
        whole = may_know(self._keys, head, scope.get("client"))
        engines = [
            {"name": one.name, "state": one.state}
            | ({"stage": one.stage} | _details(one) if whole else {"stage": open_stage(one.stage)})
            for one in self._replicas.snapshot.engines
        ]
        document: dict[str, object] = {
            "status": "ok",
            "engine": engines[0]["state"] if engines else "stopped",
            "stage": engines[0]["stage"] if engines else "",
            "engines": engines,
            "control_plane": self._replicas.control_alive,
            "waiting_cold": self._room.waiting,
            "in_flight": self._admission.in_flight,
            "max_in_flight": self._admission.max_in_flight,
            "waiting": self._admission.waiting,
            "open_connections": self._replicas.open_connections,
        }
        if whole:
            document["residency"] = self._admission.residency()
        await send_json(send, document, head.request_id)


def may_know(keys: Keys, head: Head, peer: Peer) -> bool:
    """Whether reasons and names are for this caller: who may call every model, or is an administrator."""
    try:
        principal = keys.principal(head.authorization, head.api_keys, peer)
    except RequestError:
        return False
    return principal.models is None or principal.admin


def _details(engine: EngineStatus) -> dict[str, object]:
    held = engine.memory_bytes if engine.state in ("ready", "draining") else None
    return {"reason": engine.reason, "memory_bytes": held, "memory_on": engine.memory_on if held else ""}


class ReadyEndpoint:
    """Ready: 200 when the engine has just completed a request, else 503 with Retry-After.

    It needs no key. Why an engine ended is for a caller who may call every model.
    """

    def __init__(self, keys: Keys, replicas: Replicas, readiness: Readiness, drain: Drain) -> None:
        self._drain = drain
        self._keys = keys
        self._replicas = replicas
        self._readiness = readiness

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        head = Head(scope["headers"])
        if self._drain.begun:
            raise shutting_down()
        if await self._readiness.proven():
            await send_json(send, {"status": "ready"}, head.request_id)
            return
        if self._replicas.ready:
            raise Unavailable(
                "The engine does not complete a request.", code="engine_unready", retry_after_s=5
            )
        raise self._replicas.unavailable(reasons=may_know(self._keys, head, scope.get("client")))


class MetricsEndpoint:
    """In Prometheus' form. Needs a key where keys are configured, unless `gateway.public_metrics` is set."""

    def __init__(self, keys: Keys, scrape: Scrape, public: bool) -> None:
        self._keys = keys
        self._scrape = scrape
        self._public = public

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        head = Head(scope["headers"])
        if not self._public:
            principal = self._keys.principal(head.authorization, head.api_keys, scope.get("client"))
            if not principal.may_read_metrics:
                raise Forbidden(
                    f"The key '{principal.name}' may not read /metrics, which shows every task; that "
                    "takes `metrics: true`, the role admin, or a key for every model."
                )
        text, content_type = await self._scrape.text()
        headers = [
            (b"content-type", content_type.encode()),
            (b"content-length", b"%d" % len(text)),
            (b"x-request-id", head.request_id),
        ]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": text})
