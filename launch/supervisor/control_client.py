"""Commands' way to a running control plane: blocking HTTP over its Unix socket."""

from __future__ import annotations

import contextlib
import getpass
import http.client
import json
import os
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from http.client import HTTPConnection, HTTPException, HTTPResponse
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

import msgspec

from gateway.config.launch_lock import is_running
from gateway.config.snapshot import SOCKET, Snapshot, decode_snapshot
from gateway.errors import NOT_JSON, ConfigError, LoraGatewayError, RequestError, Unavailable
from launch.supervisor.audited import COMMAND_HEADER

CONNECT_S = 5.0
ANSWER_S = 1800.0
"""An engine may have to start, and an adapter to be downloaded, before an answer."""

Kind = TypeVar("Kind")
Document = dict[str, Any]
"""A JSON object; its form is the control plane's."""


class ControlClient:
    """Each request has a connection of its own."""

    def __init__(self, state_dir: Path) -> None:
        self._state_dir = state_dir

    @property
    def state_dir(self) -> Path:
        return self._state_dir

    def ask(self, method: str, path: str, fields: Mapping[str, object] | None = None) -> Document:
        """The control plane's document.

        Raises Unavailable where none runs or it goes away, ConfigError for what a person must mend (400),
        RequestError for every other refusal.
        """
        status, document = self.answer(method, path, fields)
        if status >= 400:
            raise _refusal(status, document)
        return document

    def answer(
        self, method: str, path: str, fields: Mapping[str, object] | None = None
    ) -> tuple[int, Document]:
        """Status and document, a refusal's too. Raises Unavailable, RequestError where it is no object."""
        body = None if fields is None else json.dumps(fields, ensure_ascii=False).encode()
        with contextlib.closing(self._connect()) as connection:
            try:
                headers = {COMMAND_HEADER.decode(): _user()}
                if body:
                    headers["content-type"] = "application/json"
                connection.request(method, path, body, headers)
                answer = connection.getresponse()
                data = answer.read()
            except (OSError, HTTPException) as error:
                raise _went_away() from error
        return answer.status, _document(answer.status, data)

    @contextlib.contextmanager
    def watched(self, heed: Callable[[Snapshot], None]) -> Iterator[None]:
        """Within the block `heed` gets each snapshot, in another thread. Raises as `ask` does."""
        connection = self._connect()
        try:
            try:
                connection.request("GET", "/events")
                answer = connection.getresponse()
                if answer.status >= 400:
                    raise _refusal(answer.status, _document(answer.status, answer.read()))
            except (OSError, HTTPException) as error:
                raise _went_away() from error
            reader = threading.Thread(target=_read, args=(answer, heed), daemon=True)
            reader.start()
            try:
                yield
            finally:
                # A close alone would leave the reader's thread where it is, in its read.
                with contextlib.suppress(OSError):  # the other side may have ended it
                    connection.sock.shutdown(socket.SHUT_RDWR)
                reader.join(CONNECT_S)
        finally:
            connection.close()

    def _connect(self) -> _UnixConnection:
        path = self._state_dir / SOCKET
        connection = _UnixConnection(path)
        try:
            connection.connect()
        except PermissionError as error:
            mend = "belongs to another user; run this as the one who started the launch"
            raise ConfigError("state_dir", str(path), mend) from error
        except OSError as error:
            raise _not_there(self._state_dir) from error
        return connection


# Not httpx: its lines end at U+2028 too, which a system prompt may hold, and where a connect fails it leaves
# the socket open (design 64).
class _UnixConnection(HTTPConnection):
    """http.client's connection, to a Unix socket."""

    sock: socket.socket

    def __init__(self, path: Path) -> None:
        super().__init__("localhost")
        self._path = path

    def connect(self) -> None:
        """To the socket, within `CONNECT_S`. Raises OSError, and then leaves no socket open."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self.sock.settimeout(CONNECT_S)
            self.sock.connect(os.fspath(self._path))
            self.sock.settimeout(ANSWER_S)
        except OSError:
            self.sock.close()
            raise


def path_of(*parts: str) -> str:
    """A path of which no part can become more than one."""
    return "/" + "/".join(quote(part, safe="") for part in parts)


def read_as(value: object, kind: type[Kind]) -> Kind:
    """A part of a document as one of the snapshot's types. Raises RequestError."""
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise _unreadable(str(error)) from error


def _user() -> str:
    """Whose command it is, as the audit log says it."""
    try:
        return getpass.getuser().encode("ascii", "replace").decode()
    except (OSError, KeyError):
        return str(os.getuid())


def _read(answer: HTTPResponse, heed: Callable[[Snapshot], None]) -> None:
    with contextlib.suppress(OSError, ValueError, HTTPException):  # ended by whoever watches, or the launch
        while line := answer.readline():
            if line.strip():
                heed(decode_snapshot(line))


def _not_there(state_dir: Path) -> Unavailable:
    if is_running(state_dir):
        text = f"The launch on {state_dir} is still starting, or is stopping; try again in a moment."
    else:
        text = f"No launch runs on {state_dir}; start one with `lora-gateway up`, or give its --state-dir."
    return Unavailable(text, code="control_plane_gone")


def _went_away() -> Unavailable:
    text = (
        "The control plane went away before it had answered; `lora-gateway status` tells how it stands, and "
        "`lora-gateway tasks diff` which changes were kept."
    )
    return Unavailable(text, code="control_plane_gone")


def _unreadable(what: str) -> RequestError:
    return RequestError(
        f"The control plane's answer is of a form that is not known here ({what}); it may be another version "
        "of lora-gateway: restart it.",
        code="control_plane_unknown",
    )


def _document(status: int, data: bytes) -> Document:
    try:
        document = json.loads(data or b"{}")
    except NOT_JSON as error:
        raise _unreadable(f"status {status}, no JSON") from error
    if not isinstance(document, dict):
        raise _unreadable(f"status {status}, no object")
    return document


def _refusal(status: int, document: Document) -> LoraGatewayError:
    """What the control plane raised, as the error it was."""
    found = document.get("error")
    error = found if isinstance(found, dict) else {}
    message, param = str(error.get("message") or f"The control plane answered {status}."), error.get("param")
    if status == http.client.BAD_REQUEST and isinstance(param, str):
        return ConfigError(param, "", message.removeprefix(f"{param}: "))
    return RequestError(message, status=status, code=error.get("code"), kind=error.get("type"))
