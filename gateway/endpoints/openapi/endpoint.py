"""`/openapi.json`: what this gateway has, for tools that read it. It names no model, so it needs no key."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import cached_property

import msgspec
from starlette.routing import BaseRoute, Route
from starlette.types import Receive, Scope, Send

from gateway.endpoints.asgi import Head, send_json
from gateway.endpoints.openapi.document import document_of


class OpenApi:
    """Composed of the application's own list of routes, when it is first asked for."""

    def __init__(self) -> None:
        self.routes: Sequence[BaseRoute] = ()
        """Set once the application has them all."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        document = await asyncio.to_thread(lambda: self._document)
        await send_json(send, document, Head(scope["headers"]).request_id)

    @cached_property
    def _document(self) -> msgspec.Raw:
        return msgspec.Raw(msgspec.json.encode(document_of(served(self.routes))))


def served(routes: Sequence[BaseRoute]) -> set[tuple[str, str]]:
    """Method and path of each route; HEAD goes without saying."""
    return {
        (method, route.path)
        for route in routes
        if isinstance(route, Route)
        for method in route.methods or ()
        if method != "HEAD"
    }
