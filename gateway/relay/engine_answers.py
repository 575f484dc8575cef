"""What an engine's whole answer is: for the client, or a failure between the engine and the gateway."""

from __future__ import annotations

import logging

import msgspec

from gateway.errors import EngineError, InvalidRequest, RequestError, Unavailable
from gateway.http.engine_connection import Connection
from gateway.relay.request_record import Exchange

logger = logging.getLogger("gateway.relay.engine_answers")

REFUSALS = frozenset({400, 413, 422})
"""What an engine says of the request itself. Every other 4xx is between it and the gateway."""

PASSED = REFUSALS | {200}
"""An answer with another status never reaches the client, so no more than its beginning is of use."""

MAX_ERROR_BYTES = 64 * 1024
"""More of an answer that is not passed on is not read."""

MOST_RETRY_AFTER_S = 600
LOADED_AGAIN_S = 5
"""The control plane asks an engine every two seconds what it has."""

_decode_any = msgspec.json.Decoder(msgspec.Raw).decode


ENDING = b"cannot schedule new futures after shutdown"
"""What vLLM answers once it was told to end: what it has begun it may end, and nothing new is begun."""


class NothingDone(Unavailable):
    """The engine has done nothing for the request, and another may be asked."""


class EngineEnds(NothingDone):
    """It was told to end."""

    code = "engine_not_running"

    def __init__(self) -> None:
        super().__init__("The engine is ending.", retry_after_s=LOADED_AGAIN_S)


class AdapterLost(NothingDone):
    """The engine does not know the adapter that it was said to have; it was restarted, as a rule."""

    code = "adapter_not_loaded"

    def __init__(self, name: str) -> None:
        super().__init__(
            f"The engine has lost the adapter of '{name}', which is loaded again.",
            retry_after_s=LOADED_AGAIN_S,
        )


def fault_in(connection: Connection, answer: bytes, exchange: Exchange) -> RequestError | None:
    """What a client is told in place of an engine's answer; None where the answer is the client's.

    The engine's words are logged, since they may hold paths and addresses. Of an answer that is not in
    `PASSED` the first `MAX_ERROR_BYTES` are enough.
    """
    status = connection.status
    if status == 200 and exchange.usage is not None:
        return None  # it was read from the answer's JSON
    is_json = _is_json(answer)
    if not is_json:  # a proxy's page, as a rule, and what says so may close the connection without a word
        connection.end_after()
    if status in REFUSALS or (status == 200 and is_json):
        return None
    if status == 404 and b'"detail"' in answer and exchange.dialect.missing_route:  # FastAPI's own 404
        return InvalidRequest(exchange.dialect.missing_route, param="model", code="unsupported_endpoint")
    shown = answer[:2000].decode(errors="replace")
    logger.error("request %s: the engine answered %d: %r", exchange.request_id.decode(), status, shown)
    if status in (429, 503):
        wait_s = _retry_after_s(connection.header(b"retry-after") or b"")
        return Unavailable("The engine is overloaded.", code="overloaded", retry_after_s=wait_s)
    if status == 500 and ENDING in answer:
        return EngineEnds()
    if status >= 500:
        return EngineError("The engine failed on this request; its log says why.", status=status)
    if status == 200:
        return EngineError("The engine's answer is not the JSON it should be; the gateway's log has it.")
    route = exchange.route
    if status == 404 and route is not None and route.adapter_id and route.adapter_id.encode() in answer:
        return AdapterLost(route.name)
    return EngineError(
        f"The engine does not take the gateway's requests (status {status}); the gateway's log says why.",
        code="engine_refused",
    )


async def read_failure(connection: Connection) -> bytes:
    """The beginning of an answer that is not passed on. Raises EngineError, GatewayTimeout."""
    text = bytearray()
    while len(text) < MAX_ERROR_BYTES and (piece := await connection.read()):
        text += piece
    return bytes(text)


def _is_json(answer: bytes) -> bool:
    try:
        _decode_any(answer)
    except RecursionError:
        return True  # too deep to be looked through here, which is no fault
    except ValueError:
        return False
    return True


def _retry_after_s(said: bytes) -> int:
    """What the engine asks for, in whole seconds; 1 where it says nothing of use."""
    return min(MOST_RETRY_AFTER_S, max(1, int(said))) if said.isdigit() and len(said) < 10 else 1
