"""What a path that leads nowhere is answered: the route that it was meant for."""

from __future__ import annotations

import re
from collections.abc import Collection

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from gateway.dialects.registry import dialect_of_path
from gateway.endpoints.asgi import Head
from gateway.errors import NotFound, nearest

_FULL_URL = re.compile(r"^/?https?:/+[^/]+")
_REPEATED = re.compile(r"^/v1(/v1)+(?=/|$)")
_PARAMETER = re.compile(r"\{(\w+)(:\w+)?\}")
MAX_PATH_CHARS = 512


def meant_path(path: str, routes: Collection[str]) -> str | None:
    """What `path` should have been, of the paths of `routes` (Starlette's), or None.

    Bases of clients end with or without `/v1` and a slash, and what they add begins with one or not.
    """
    if len(path) > MAX_PATH_CHARS:
        return None
    tidy = "/" + "/".join(part for part in _FULL_URL.sub("", path).split("/") if part)
    tidy = _REPEATED.sub("/v1", tidy)
    tried = [tidy, f"/v1{tidy}", tidy.removeprefix("/v1"), tidy.lower(), f"/v1{tidy}".lower()]
    tried += [tidy[at:] for at in (tidy.find("/v1/", 1), tidy.find("/openai/", 1)) if at > 0]
    patterns = [re.compile(_pattern(route)) for route in routes]
    for candidate in tried:
        if candidate != path and any(pattern.fullmatch(candidate) for pattern in patterns):
            return candidate
    return nearest(tidy, [route for route in routes if "{" not in route])


def _pattern(route: str) -> str:
    """A parameter is one segment here, whatever it may be to the router."""
    parts = _PARAMETER.split(route)  # text, name, convertor, text, ...
    return "[^/]+".join(re.escape(text) for text in parts[::3])


async def no_such_route(request: Request, error: Exception) -> Response:
    """Starlette's own 404 and 405 in the envelope of the API whose path it is."""
    assert isinstance(error, HTTPException)
    path, method = request.scope["path"], request.scope["method"]
    if error.status_code == 405 and path != "/":  # whoever posts there has left out the path
        answer = NotFound(f"{path} does not take {method}.", status=405, code="method_not_allowed")
    else:
        taken = [route.path for route in request.app.routes if method in route.methods]
        meant = meant_path(path, taken)
        hint = f" Did you mean '{meant}'?" if meant else " GET /openapi.json lists every route."
        answer = NotFound(f"There is no route {method} {path}.{hint}")
    request_id = Head(request.scope["headers"]).request_id
    dialect = dialect_of_path(path)
    headers = dict(error.headers or {}) | {"x-request-id": request_id.decode()}
    headers |= {name.decode(): value.decode() for name, value in dialect.id_headers(request_id)}
    return Response(
        dialect.error_body(answer, request_id), answer.status, headers, media_type="application/json"
    )
