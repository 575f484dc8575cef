"""The control plane's server: HTTP on a Unix socket that only its owner may open."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import uvicorn
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.config.snapshot import SOCKET
from gateway.errors import ConfigError, EngineFailure, LoraGatewayError, RequestError, Unavailable

LONGEST_PATH = 107
"""Bytes; the kernel's sockaddr_un holds no more."""
LAST_WORD_S = 1.0
STOPPED = "The control plane was stopped before this was done; nothing has changed."


async def refused(_: Request, error: Exception) -> Response:
    if isinstance(error, RequestError):
        return JSONResponse(error.envelope, status_code=error.status)
    kind, status, param = "invalid_request_error", 400, None
    if isinstance(error, EngineFailure):
        kind, status = "engine_error", 502
    elif isinstance(error, ConfigError):
        param = error.key
    code = "engine_error" if status == 502 else "invalid_value"
    envelope = {"error": {"message": str(error), "type": kind, "param": param, "code": code}}
    return JSONResponse(envelope, status_code=status)


@contextlib.contextmanager
def control_socket(state_dir: Path) -> Iterator[socket.socket]:
    """A listening socket of mode 0600 under its own name from the first moment. Raises ConfigError."""
    path = state_dir / SOCKET
    if len(os.fsencode(path)) > LONGEST_PATH:
        mend = (
            f"is too long for the control socket ({LONGEST_PATH} bytes with its name); choose a shorter one"
        )
        raise ConfigError("state_dir", str(state_dir), mend)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        before = os.umask(0o177)  # not a chmod after the bind: before it others might connect
        try:
            path.unlink(missing_ok=True)  # of a life before: `sole_launch` says that nobody else is there
            listener.bind(str(path))
        except OSError as error:
            raise ConfigError("state_dir", str(path), f"cannot be bound: {error.strerror}") from error
        finally:
            os.umask(before)
        listener.listen(128)
        try:
            yield listener
        finally:
            path.unlink(missing_ok=True)


class Ending:
    """The application at the control plane's end, when whatever still runs is cancelled.

    A request is told so, and a stream ends; a change that had to wait until then has not been made.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        begun = complete = False

        async def noted(message: Message) -> None:
            nonlocal begun, complete
            begun = True
            complete = message["type"] == "http.response.body" and not message.get("more_body", False)
            await send(message)

        try:
            await self._app(scope, receive, noted)
        except asyncio.CancelledError:
            with contextlib.suppress(TimeoutError):  # a client that reads nothing cannot hold up the end
                async with asyncio.timeout(LAST_WORD_S):
                    if not begun:
                        refusal = Unavailable(STOPPED, code="control_plane_gone")
                        await (await refused(Request(scope), refusal))(scope, receive, send)
                    elif not complete:
                        await send({"type": "http.response.body", "body": b""})


class ControlServer(uvicorn.Server):
    """uvicorn inside the supervisor's loop, which has signal handlers of its own."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    @classmethod
    def of(cls, app: ASGIApp) -> ControlServer:
        """For `app`, which is told of the end."""
        settings = uvicorn.Config(
            Ending(app),
            http="httptools",
            loop="none",
            lifespan="off",
            access_log=False,
            log_level="warning",
            log_config=None,
            ws="none",
            timeout_keep_alive=60,  # uvicorn's 5 s cut off who stood still for a moment
            timeout_graceful_shutdown=1,
        )
        return cls(settings)


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
        with control_socket(self._state_dir) if first is None else contextlib.nullcontext(first) as listener:
            server = ControlServer.of(self._app)
            serving = asyncio.create_task(server.serve(sockets=[listener]))
            try:
                # uvicorn's `serve`, were it cancelled, would leave out its shutdown, and connections open.
                await asyncio.shield(serving)
                raise LoraGatewayError("the control socket's server has ended by itself")
            except asyncio.CancelledError:
                # By force: what still runs may take minutes, and ends with the loop, which cancels it.
                server.should_exit = server.force_exit = True
                await serving
                raise
            finally:
                for each in getattr(server, "servers", ()):  # none before its start
                    each.close()
