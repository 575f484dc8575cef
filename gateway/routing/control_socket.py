"""The gateway's side of the control socket: snapshots as they change, and requests to the control plane."""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Protocol

from gateway.config.snapshot import SOCKET, Snapshot, decode_snapshot
from gateway.errors import NOT_JSON, EngineError, GatewayTimeout, Unavailable
from gateway.http.engine_connection import Address, Timeouts
from gateway.http.engine_pool import Upstream

CONNECT_S = 2.0
SILENT_S = 10.0
"""The control plane says something every 2 s; after so long without a word it counts as gone."""
ANSWER_S = 1800.0
"""An adapter may have to be downloaded and proven before its request is answered."""
MAX_LINE_BYTES = 256 * 1024 * 1024


class ControlPlane(Protocol):
    """A gateway's way to it: a socket on the same machine, or Redis."""

    async def request(self, method: str, path: str, body: bytes = b"") -> tuple[int, bytes]: ...

    def snapshots(self, gateway: str) -> AsyncGenerator[Snapshot, None]: ...

    def close(self) -> None: ...


class Control:
    """Make it in the event loop that it is used in."""

    def __init__(self, state_dir: Path) -> None:
        address = Address(uds=str(state_dir / SOCKET))
        # Events have no end; who is silent for `SILENT_S` is gone.
        self._events = Upstream(address, Timeouts(CONNECT_S, CONNECT_S, SILENT_S, math.inf))
        self._requests = Upstream(address, Timeouts(CONNECT_S, ANSWER_S, SILENT_S, ANSWER_S))

    async def request(self, method: str, path: str, body: bytes = b"") -> tuple[int, bytes]:
        """Status and body. Raises Unavailable (503) where the control plane is gone."""
        try:
            connection = await self._requests.ask(method.encode(), path.encode(), body)
        except (EngineError, GatewayTimeout) as error:
            raise _gone() from error
        try:
            return connection.status, await connection.whole(MAX_LINE_BYTES)
        except (EngineError, GatewayTimeout) as error:
            raise _gone() from error
        finally:
            self._requests.finish(connection)

    async def snapshots(self, gateway: str) -> AsyncGenerator[Snapshot, None]:
        """The snapshot now, then each newer one; of several that came at once the newest.

        Raises EngineError, GatewayTimeout where the control plane is not there, or goes.
        """
        connection = await self._events.ask(b"GET", b"/events?gateway=" + gateway.encode(), b"")
        rest = b""
        try:
            if connection.status != 200:
                raise EngineError(f"The control plane answered {connection.status}.")
            while piece := await connection.read():
                *lines, rest = (rest + piece).split(b"\n")
                if len(rest) > MAX_LINE_BYTES:
                    raise EngineError("The control plane's snapshot is too large.")
                newest = next((line for line in reversed(lines) if line.strip()), None)
                if newest is not None:
                    try:
                        snapshot = decode_snapshot(newest)
                    except NOT_JSON as error:
                        raise EngineError(f"The control plane's snapshot cannot be read: {error}") from error
                    yield snapshot
            raise EngineError("The control plane closed the connection.")
        finally:
            self._events.finish(connection)

    def close(self) -> None:
        self._events.close()
        self._requests.close()


def _gone() -> Unavailable:
    mend = "The control plane does not answer; start it with `lora-gateway up` or `python -m launch`."
    return Unavailable(mend, code="control_plane_gone", retry_after_s=5)
