"""The page's way to the gateway's own routes: as whoever is signed in, by the same checks as any client."""

from __future__ import annotations

from contextlib import nullcontext

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.admission.api_keys import ANYBODY, Keys, Principal
from gateway.errors import NotFound

OPEN = ("/v1/", "/admin/")
# Who asks the ticket says: beside it another key would be refused. The last two are for the page's routes.
_DROPPED = frozenset((b"authorization", b"x-api-key", b"api-key", b"cookie", b"x-csrf-token", b"x-adapter"))
# What Starlette's router has noted of the page's own route; it looks for another one with the same scope.
_OF_ROUTING = ("path_params", "endpoint", "route", "router", "app", "root_path")


class Passing:
    """Hands a request on to the application under another path."""

    def __init__(self, keys: Keys, app: ASGIApp) -> None:
        self._keys = keys
        self._app = app

    async def pass_on(
        self, principal: Principal, path: str, scope: Scope, receive: Receive, send: Send
    ) -> None:
        """Raises NotFound for a path that the page has no business with."""
        if not path.startswith(OPEN):
            raise NotFound("The page reaches /v1 and /admin alone.")
        headers = [(name, value) for name, value in scope["headers"] if name not in _DROPPED]
        inner = {key: value for key, value in scope.items() if key not in _OF_ROUTING}
        inner |= {"root_path": "", "path": path, "raw_path": path.encode()}
        ticket = nullcontext(None) if principal is ANYBODY else self._keys.ticket(principal)
        with ticket as secret:
            if secret is not None:
                headers.append((b"authorization", b"Bearer " + secret))
            await self._app({**inner, "headers": headers}, receive, send)

    async def post(self, principal: Principal, path: str, body: bytes, scope: Scope, send: Send) -> None:
        """As `pass_on`, with another body of JSON."""
        replaced = (b"content-type", b"content-length")
        headers = [(name, value) for name, value in scope["headers"] if name not in replaced]
        headers += [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
        sent = False

        async def receive() -> Message:
            nonlocal sent
            if sent:
                return {"type": "http.disconnect"}
            sent = True
            return {"type": "http.request", "body": body, "more_body": False}

        await self.pass_on(principal, path, {**scope, "method": "POST", "headers": headers}, receive, send)
