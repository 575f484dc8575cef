"""The engine's key on every route: vLLM's own check is of /v1 and a few prefixes more.

`/tokenize`, `/invocations`, which completes, and what development mode opens stand beside those. vLLM adds
the class by `--middleware`. Liveness and numbers stay open, as they are without it; nothing here may import
the gateway.
"""

from __future__ import annotations

import hashlib
import os
from hmac import compare_digest

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

VARIABLE = "VLLM_API_KEY"
OPEN = frozenset({"/health", "/metrics", "/ping"})


class KeyGuard:
    """Pure ASGI. An engine without a key is left as it is."""

    def __init__(self, app: ASGIApp, key: str | None = None) -> None:
        """`key`: instead of the environment's."""
        held = os.environ.get(VARIABLE, "") if key is None else key
        self._app = app
        self._digest = _digest(held) if held else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._lets_in(scope):
            await self._app(scope, receive, send)
        else:
            await JSONResponse({"error": "Unauthorized"}, 401)(scope, receive, send)

    def _lets_in(self, scope: Scope) -> bool:
        if self._digest is None or scope["type"] == "lifespan" or scope["path"] in OPEN:
            return True
        scheme, _, key = Headers(scope=scope).get("authorization", "").partition(" ")
        # Digests, since of texts of two lengths the comparison ends at once.
        return scheme.lower() == "bearer" and compare_digest(_digest(key), self._digest)


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest()
