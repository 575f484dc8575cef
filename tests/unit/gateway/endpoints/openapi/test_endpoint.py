"""Which routes the document is made of."""

from __future__ import annotations

from starlette.routing import Mount, Route

from gateway.endpoints.openapi.endpoint import served


async def nothing(scope: object, receive: object, send: object) -> None:
    """An endpoint that is never asked."""


def test_each_method_of_a_route_and_no_head() -> None:
    routes = [
        Route("/a", nothing, methods=["GET", "POST"]),
        Route("/b/{id}", nothing, methods=["DELETE"]),
        Mount("/c", nothing),
    ]
    assert served(routes) == {("GET", "/a"), ("POST", "/a"), ("DELETE", "/b/{id}")}
