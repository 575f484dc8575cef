"""`/openapi.json`: what this gateway has, for tools that read it. It names no model, so it needs no key."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import msgspec
from starlette.routing import BaseRoute, Route
from starlette.types import Receive, Scope, Send

from gateway.endpoints.asgi import Head, send_json
from gateway.endpoints.openapi.document import document_of


class OpenApi:
    """Composed of the application's own list of routes, when it is first asked for."""

    def __init__(self) -> None:
        self._document: msgspec.Raw | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._document is None:
            self._document = await asyncio.to_thread(_composed, scope["app"].routes)
        await send_json(send, self._document, Head(scope["headers"]).request_id)


def _composed(routes: Sequence[BaseRoute]) -> msgspec.Raw:
    return msgspec.Raw(msgspec.json.encode(document_of(served(routes))))


def served(routes: Sequence[BaseRoute]) -> set[tuple[str, str]]:
    """Method and path of each route; HEAD goes without saying, and what the page is made of is no API."""
    return {
        (method, route.path)
        for route in routes
        if isinstance(route, Route) and route.include_in_schema
        for method in route.methods or ()
        if method != "HEAD"
    }
