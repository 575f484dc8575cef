"""uvicorn's server with an end of our own: nobody is refused a connection while accepted requests go on.

And with a word for those for whom there is no descriptor.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import cast

import uvicorn

from gateway.config.origins import Cors, OwnName
from gateway.config.process import HangUp
from gateway.http.client_connection import GatewayProtocol
from gateway.http.descriptors import Descriptors
from gateway.http.drain import Drain, shutting_down
from gateway.http.request_cycle import Express
from gateway.http.tls.reloading import Tls

logger = logging.getLogger("gateway.http.server")

LOOK_EVERY_S = 0.05
"""The end of a connection has no event that would cost a request nothing."""
TLS_TICKS = 10
"""Between two looks at the certificates' files."""
LAST_WORDS_S = 1.0
"""For the errors of what was not done in time to be written and taken."""


class Server(uvicorn.Server):
    """uvicorn's, which on its way out first answers what it has accepted (`Drain`)."""

    def __init__(
        self,
        config: uvicorn.Config,
        drain: Drain,
        descriptors: Descriptors | None = None,
        tls: Tls | None = None,
        hang_up: HangUp | None = None,
    ) -> None:
        super().__init__(config)
        self._hang_up = hang_up
        self._drain = drain
        self._descriptors = descriptors
        self._tls = tls

    async def on_tick(self, counter: int) -> bool:
        """Every 0.1 s: the certificates each second, SIGHUP, and what uvicorn itself looks at."""
        if self._tls is not None and not counter % TLS_TICKS:
            self._tls.look()
        wish = self._hang_up.wish() if self._hang_up is not None else ""
        if wish == "end":
            self.should_exit = True
        elif wish == "reload":
            self._reload()
        return await super().on_tick(counter)

    def _reload(self) -> None:
        if self._tls is None:
            logger.info(
                "SIGHUP: there are no certificates to take; the control plane reloads the configuration"
            )
        elif self._tls.take():
            logger.info("SIGHUP: the certificates were taken anew")

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen; from then on clients have the descriptors that are theirs."""
        await super().startup(sockets)
        if self._descriptors is not None:
            self._descriptors.share_out()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Drain, then close.

        Readiness falls, and what comes is answered 503, on new connections too, until all that was accepted
        is done or its time is over; what is not done then ends with an error. The listeners close after that.
        """
        self._drain.begun = True
        for connection in self._connections:
            connection.finish_soon()
        timeout_s = self.config.timeout_graceful_shutdown
        if not await self._until(lambda: not self._busy, timeout_s):
            await self._break_off()
        for server in self.servers:
            server.close()
        for listener in sockets or []:
            listener.close()
        for connection in self._connections:
            connection.shutdown()
        if not await self._until(lambda: not self._connections, LAST_WORDS_S):
            for connection in self._connections:
                connection.transport.abort()
        if not self.force_exit:
            await self.lifespan.shutdown()

    @property
    def _connections(self) -> list[GatewayProtocol]:
        return cast("list[GatewayProtocol]", list(self.server_state.connections))

    @property
    def _busy(self) -> list[GatewayProtocol]:
        return [connection for connection in self._connections if connection.is_busy]

    async def _until(self, done: Callable[[], object], timeout_s: float | None) -> bool:
        """Whether it came about in time; a second SIGINT ends the wait."""
        try:
            async with asyncio.timeout(timeout_s):
                while not done():
                    if self.force_exit:
                        return False
                    await asyncio.sleep(LOOK_EVERY_S)
        except TimeoutError:
            return False
        return True

    async def _break_off(self) -> None:
        """Requests without a task hear it from the engine's side, those with one are cancelled."""
        logger.warning("%d requests were not done in time and are broken off", len(self._busy))
        self._drain.over = True  # by it the application knows this cancellation from another
        _cancel(self.server_state.tasks)
        self._drain.break_off(shutting_down)
        await self._until(lambda: not self._busy, LAST_WORDS_S)


def _cancel(tasks: Iterable[asyncio.Task[None]]) -> None:
    for task in list(tasks):
        task.cancel()


def protocol_with(
    receive_timeout_s: float,
    express: Mapping[str, Express] | None = None,
    uploads: Mapping[str, int] = MappingProxyType({}),
    *,
    max_body_bytes: int = GatewayProtocol.max_body_bytes,
    cors: Cors | None = None,
    drain: Drain | None = None,
    descriptors: Descriptors | None = None,
    own_name: OwnName | None = None,
) -> type[GatewayProtocol]:
    """The protocol with its settings, as a class: uvicorn makes the instances."""
    settings = {
        "receive_timeout_s": receive_timeout_s,
        "express": express or {},
        "uploads": uploads,
        "max_body_bytes": max_body_bytes,
        "cors": cors,
        "drain": drain or GatewayProtocol.drain,
        "descriptors": descriptors or GatewayProtocol.descriptors,
        "own_name": own_name,
    }
    return type("ConfiguredProtocol", (GatewayProtocol,), settings)
