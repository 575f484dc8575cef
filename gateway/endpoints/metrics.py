"""`/metrics`: what all workers counted, in Prometheus' form."""

from __future__ import annotations

import asyncio

from starlette.types import Receive, Scope, Send

from gateway.admission.api_keys import Keys
from gateway.endpoints.asgi import Head, send_error
from gateway.errors import RequestError
from gateway.metrics.counters import Metrics
from gateway.routing.replicas import Replicas


class MetricsText:
    """Needs a key where keys are configured, unless `gateway.public_metrics` is set."""

    def __init__(self, keys: Keys, metrics: Metrics, replicas: Replicas, public: bool) -> None:
        self._keys = keys
        self._metrics = metrics
        self._replicas = replicas
        self._public = public

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        head = Head(scope["headers"])
        try:
            if not self._public:
                self._keys.principal(head.authorization, head.api_keys)
        except RequestError as error:
            await send_error(send, error, head.request_id)
            return
        text, content_type = await asyncio.to_thread(self._metrics.render, self._replicas.snapshot.faults)
        headers = [
            (b"content-type", content_type.encode()),
            (b"content-length", b"%d" % len(text)),
            (b"x-request-id", head.request_id),
        ]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": text})
