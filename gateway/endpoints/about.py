"""`/`: what answers here, for whoever opens the address: a browser is led to the page.

It names no model, so it needs no key.
"""

from __future__ import annotations

from starlette.types import Receive, Scope, Send

from gateway.endpoints.asgi import Head, send_json
from gateway.scrape.engine_states import release

DOCUMENTATION = "/openapi.json"
PAGE = b"/ui/"


class About:
    """One small document, and no list that could tell of what is not there: that is `/openapi.json`."""

    def __init__(self, generating: list[str]) -> None:
        """`generating`: the paths that a model answers on."""
        self._document = {
            "name": "lora-gateway",
            "version": release(),
            "about": "LoRA adapters on one base model, behind APIs of OpenAI's and Anthropic's form.",
            "documentation": DOCUMENTATION,
            "models": "/v1/models",
            "health": "/health",
            "ready": "/ready",
            "endpoints": generating,
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if b"text/html" in dict(scope["headers"]).get(b"accept", b""):
            headers = [(b"location", PAGE), (b"vary", b"accept"), (b"content-length", b"0")]
            await send({"type": "http.response.start", "status": 303, "headers": headers})
            await send({"type": "http.response.body", "body": b""})
            return
        await send_json(send, self._document, Head(scope["headers"]).request_id)
