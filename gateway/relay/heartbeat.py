"""A sign of life in a stream that waits for an engine to start."""

from __future__ import annotations

from starlette.types import Send

from gateway.relay.request_record import EVENT_STREAM, Exchange, ignored_header
from gateway.routing.replicas import Replicas


class Heartbeat:
    """Comments in a stream that has begun before its answer; clients of server-sent events skip them."""

    def __init__(self, replicas: Replicas, exchange: Exchange, send: Send) -> None:
        self._replicas = replicas
        self._exchange = exchange
        self._send = send

    async def __call__(self) -> None:
        """What the engine is doing."""
        exchange = self._exchange
        if not exchange.begun:
            exchange.begun = True
            name = exchange.route.name_bytes if exchange.route else b""
            headers = [
                (b"x-request-id", exchange.request_id),
                (b"x-gateway-task", name),
                (b"x-gateway-cold", b"true"),
                *exchange.dialect.id_headers(exchange.request_id),
                *ignored_header(exchange.ignored),
                *EVENT_STREAM,
            ]
            await self._send({"type": "http.response.start", "status": 200, "headers": headers})
        stage, running_s = self._replicas.availability.stage()
        line = f": engine starting ({stage}), {running_s:.0f} s\n\n".encode()
        await self._send({"type": "http.response.body", "body": line, "more_body": True})
