"""Commands that come over the control socket, in the audit log; a gateway writes those of its own."""

from __future__ import annotations

import msgspec
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.audit import FACTS, AuditLog
from gateway.errors import NOT_JSON

COMMAND_HEADER = b"x-command"
"""What `ControlClient` sends: the name of the user whose command it is."""
MOST_BYTES = 64 * 1024


class Audited:
    """The control API with a line for each command that changes something, done or refused."""

    def __init__(self, app: ASGIApp, log: AuditLog) -> None:
        self._app = app
        self._log = log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        who = dict(scope.get("headers", ())).get(COMMAND_HEADER)
        if scope["type"] != "http" or scope["method"] == "GET" or who is None:
            await self._app(scope, receive, send)
            return
        body = bytearray()
        status = 500

        async def heard() -> Message:
            message = await receive()
            if len(body) < MOST_BYTES:  # half of a longer one is no JSON, and shows no facts
                body.extend(message.get("body", b""))
            return message

        async def said(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, heard, said)
        finally:
            query = scope["query_string"].decode("latin-1")
            action = f"{scope['method']} {scope['path']}{'?' + query if query else ''}"
            self._log.write(
                action, f"command line ({who.decode('latin-1')})", status, **facts_of(bytes(body))
            )


def facts_of(body: bytes) -> dict[str, object]:
    """Of a command's JSON, what the log shows; empty where it is none."""
    try:
        fields = msgspec.json.decode(body)
    except NOT_JSON:
        return {}
    return {name: fields[name] for name in FACTS if name in fields} if isinstance(fields, dict) else {}
