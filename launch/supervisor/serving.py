"""The control socket's server, kept for as long as its supervisor lives."""

from __future__ import annotations

import asyncio
import socket
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from starlette.types import ASGIApp

from gateway.errors import LoraGatewayError
from launch.supervisor.control_server import ControlServer, control_socket


class Serving:
    """One server after another: `run` again, after a failure, listens on a new socket of the same name."""

    def __init__(self, app: ASGIApp, state_dir: Path, listener: socket.socket) -> None:
        """`listener` is the first one's, bound before anything else began."""
        self._app = app
        self._state_dir = state_dir
        self._first: socket.socket | None = listener

    async def run(self) -> None:
        """Until cancelled; then clients are told so. Raises LoraGatewayError where it ends by itself."""
        first, self._first = self._first, None
        bound: AbstractContextManager[socket.socket] = (
            control_socket(self._state_dir) if first is None else nullcontext(first)
        )
        with bound as listener:
            server = ControlServer.of(self._app)
            serving = asyncio.create_task(server.serve(sockets=[listener]))
            try:
                await asyncio.shield(serving)
                raise LoraGatewayError("the control socket's server has ended by itself")
            except asyncio.CancelledError:
                server.should_exit = server.force_exit = True
                await serving
                raise
            finally:
                for each in getattr(server, "servers", ()):  # none before its start
                    each.close()
