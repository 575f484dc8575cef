"""What the router answers for an endpoint that raises, and for a path that leads nowhere.

In the envelope of the API whose path it is. Who writes a record of what it refuses answers by itself, so that
both have one id.
"""

from __future__ import annotations

from collections.abc import Mapping

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from gateway.dialects.registry import dialect_of_path
from gateway.endpoints.asgi import ClientLeft, Head
from gateway.endpoints.wrong_path import meant_path
from gateway.errors import NotFound, RequestError
from gateway.relay.client_side import error_answer

CLIENT_LEFT = 499
"""Nobody reads it."""


async def refused(request: Request, error: Exception) -> Response:
    """What an endpoint has raised."""
    assert isinstance(error, RequestError)
    return _answer(request, error)


async def client_left(request: Request, error: Exception) -> Response:
    return Response(status_code=CLIENT_LEFT)


async def no_such_route(request: Request, error: Exception) -> Response:
    """Starlette's own 404 and 405."""
    assert isinstance(error, HTTPException)
    path, method = request.scope["path"], request.scope["method"]
    if error.status_code == 405 and path != "/":  # whoever posts there has left out the path
        fault = NotFound(f"{path} does not take {method}.", status=405, code="method_not_allowed")
    else:
        taken = [route.path for route in request.app.routes if method in route.methods]
        meant = meant_path(path, taken)
        hint = f" Did you mean '{meant}'?" if meant else " GET /openapi.json lists every route."
        fault = NotFound(f"There is no route {method} {path}.{hint}")
    return _answer(request, fault, error.headers)


def _answer(request: Request, fault: RequestError, more: Mapping[str, str] | None = None) -> Response:
    scope = request.scope
    dialect = dialect_of_path(scope["path"])
    status, headers, body = error_answer(fault, Head(scope["headers"]).request_id, dialect)
    # Of a 405, `Allow`.
    headers += [(name.lower().encode(), value.encode()) for name, value in (more or {}).items()]
    response = Response(body, status)
    response.raw_headers = headers
    return response


HANDLERS = {HTTPException: no_such_route, RequestError: refused, ClientLeft: client_left}
"""For Starlette."""
