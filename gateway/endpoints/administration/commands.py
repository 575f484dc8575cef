"""`/admin/…`: what the commands do, over HTTP and for keys with `admin: true` alone.

Each route stands for one of the control plane's, which decides; nothing of a client's path or query is passed
on but names that were checked.
"""

from __future__ import annotations

import asyncio
import re
import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType

import msgspec
from starlette.types import Receive, Scope, Send

from gateway.admission.api_keys import Keys, Peer, Principal
from gateway.admission.refused_keys import RefusedKeys
from gateway.audit import FACTS, AuditLog
from gateway.config.document import NAME, NAME_RULE, GatewayConfig
from gateway.config.key_settings import BY, ISSUED_FIELDS
from gateway.dialects.request_body import decode_body
from gateway.endpoints.administration import operators
from gateway.endpoints.asgi import ClientLeft, Head, read_small_body, send_error, send_json
from gateway.endpoints.batches.uploads import to_its_end
from gateway.errors import (
    NOT_JSON,
    EngineError,
    Forbidden,
    InvalidRequest,
    RequestError,
    Unavailable,
)
from gateway.routing.control_socket import ControlPlane
from gateway.routing.replicas import Replicas

MAX_BODY_BYTES = 256 * 1024
"""A request names an adapter and perhaps a system prompt."""
ADAPTER_ID = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}@[0-9a-f]{12}\Z")
Noted = Mapping[str, msgspec.Raw | str]
NOTHING: Noted = MappingProxyType({})
ADD = ("POST", "/adapters")
HANDED_ON = 202
"""What the log says of a command whose outcome the gateway's own end kept it from."""
NOT_KEPT = [(b"cache-control", b"no-store")]
"""An answer may hold a new key."""
KEYS_MEND = (
    "/admin is closed as long as there are no keys; `lora-gateway keys create NAME --role admin` makes one."
)


@dataclass(frozen=True, slots=True)
class Command:
    """A route under `/admin` and the control plane's of the same path."""

    method: str
    path: str
    fields: frozenset[str] | None = None
    """What a body may hold; None for a route that takes none."""
    by_id: bool = False
    """Whether `?id=` may name one version."""
    signed: bool = False
    """Whether the control plane keeps whose key it came with."""


COMMANDS = (
    Command("GET", "/adapters"),
    Command("POST", "/adapters", frozenset({"task", "source", "canary", "shadow", "system"})),
    Command("GET", "/adapters/{task}"),
    Command("DELETE", "/adapters/{task}", by_id=True),
    Command("POST", "/adapters/{task}/promote", frozenset({"id"})),
    Command("POST", "/adapters/{task}/rollback", frozenset()),
    Command("GET", "/tasks"),
    Command("GET", "/tasks/diff"),
    Command("POST", "/tasks/{task}/reset", frozenset()),
    Command("GET", "/keys"),
    Command(
        "POST",
        "/keys",
        ISSUED_FIELDS,
        signed=True,
    ),
    Command("GET", "/keys/{name}"),
    Command("DELETE", "/keys/{name}"),
    Command("PUT", "/keys/{name}/limits", frozenset({"limits"}), signed=True),
    Command("POST", "/keys/{name}/rotate", frozenset({"keep_s", "expires_in_s"}), signed=True),
    Command("GET", "/placement"),
    Command("POST", "/reload", frozenset()),
)


class Administration:
    """Who may command, and the way to the control plane."""

    def __init__(self, keys: Keys, bounds: GatewayConfig, audit: AuditLog, refused: RefusedKeys) -> None:
        self._keys = keys
        self.audit = audit
        self.refused = refused
        self.bounds = bounds
        self.control: ControlPlane | None = None
        """Set while the gateway follows a control plane."""

    def known(self, head: Head, peer: Peer) -> Principal:
        """Whose key it is. Raises Unauthorized (401), Forbidden (403) where there are no keys: nobody may."""
        if not self._keys.required:
            raise Forbidden(KEYS_MEND)
        return self._keys.principal(head.authorization, head.api_keys, peer)

    def check_role(self, principal: Principal, *, or_operator: bool = False) -> None:
        """Raises Forbidden (403) unless it is an admin's, or an operator's where those may too."""
        if not (principal.admin or (or_operator and principal.role == "operator")):
            raise Forbidden(
                f"The key '{principal.name}' may not use /admin; that takes one of the role admin "
                "(`lora-gateway keys create NAME --role admin`, or `admin: true` in the configuration)."
            )

    async def ask(self, method: str, path: str, body: bytes) -> tuple[int, msgspec.Raw]:
        """The control plane's status and JSON. Raises Unavailable (503), EngineError (502)."""
        if self.control is None:
            raise Unavailable("This gateway follows no control plane yet.", code="control_plane_gone")
        status, answer = await self.control.request(method, path, body)
        try:
            msgspec.json.decode(answer, type=dict[str, msgspec.Raw])
        except NOT_JSON as error:
            raise EngineError(
                f"The control plane's answer ({status}) is no JSON; is it another version? Restart it.",
                code="control_plane_unknown",
            ) from error
        return status, msgspec.Raw(answer)


class AdminCommand:
    """The endpoint of one of `COMMANDS`: checks the key and hands the request to the control plane."""

    def __init__(self, command: Command, administration: Administration) -> None:
        self._command = command
        self._administration = administration

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        head, who = Head(scope["headers"]), ""
        command, administration = self._command, self._administration
        try:
            principal = administration.known(head, scope.get("client"))
            who = principal.name
            administration.check_role(principal, or_operator=True)
            path = _path(command, scope)
            task = scope.get("path_params", {}).get("task")
            operator = principal.role == "operator"
            if operator:
                operators.check_command(principal, command.method, command.path)
                if task is not None:
                    operators.check_named(principal, task)
            # Nothing is read from whoever may not.
            fields = await _fields(command, head, receive, administration.bounds)
            if command.signed:
                fields[BY] = principal.name
            if operator and (command.method, command.path) == ADD:
                task = operators.check_new(principal, _text_of(fields.get("task")))
                fields[operators.TENANT] = principal.tenant
            body = b"" if command.fields is None else msgspec.json.encode(fields)
            # Whoever leaves now does not stop it: the control plane goes on either way.
            try:
                status, answer = await administration.ask(command.method, path, body)
            except asyncio.CancelledError:  # the gateway ends, and nobody here will know the outcome
                await self._note(scope, head, who, HANDED_ON, fields)
                raise
            shown = operators.visible(principal, status, answer, task) if operator else answer
        except ClientLeft:
            return
        except RequestError as error:
            if who:  # bad keys are counted where they are refused
                await self._note(scope, head, who, error.status)
            await send_error(send, error, head.request_id)
            return
        # Before the answer: whatever somebody was told of stands in the log.
        await self._note(scope, head, who, status, fields)
        await send_json(send, shown, head.request_id, status, extra=NOT_KEPT)

    async def _note(
        self,
        scope: Scope,
        head: Head,
        who: str,
        status: int,
        fields: Mapping[str, msgspec.Raw | str] = NOTHING,
    ) -> None:
        """Who did it, or was refused; of the fields, those that say what.

        Whoever is refused may come back at once: its next ones are counted with others like them.
        """
        command, administration = self._command, self._administration
        if command.method == "GET":
            return
        if status >= 400 and administration.refused.again(who, f"{command.method} {command.path}", status):
            return
        client = scope.get("client")
        write = partial(
            administration.audit.write,
            f"{scope['method']} {scope['path']}",
            who,
            status,
            **{name: _text_of(fields[name]) for name in FACTS if name in fields},
            address=client[0] if client else None,
            request_id=head.request_id.decode("latin-1"),
        )
        await to_its_end(write)  # in a thread: it is synced, which takes as long as the disk likes


class AdminStatus:
    """`/admin/status`: the snapshot that this gateway routes by; it answers without a control plane too."""

    def __init__(self, administration: Administration, replicas: Replicas) -> None:
        self._administration = administration
        self._replicas = replicas

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        head = Head(scope["headers"])
        self._administration.check_role(self._administration.known(head, scope.get("client")))
        shown = msgspec.structs.replace(self._replicas.snapshot, keys={}, issued_keys={})
        document = {"control_plane": self._replicas.control_alive, **msgspec.to_builtins(shown)}
        await send_json(send, document, head.request_id)


def _text_of(value: msgspec.Raw | str | None) -> object:
    """A field's value as the control plane will read it; None where it cannot."""
    try:
        return msgspec.json.decode(value) if isinstance(value, msgspec.Raw) else value
    except NOT_JSON:
        return None


def _path(command: Command, scope: Scope) -> str:
    """The control plane's path, made anew of checked names. Raises InvalidRequest (400)."""
    path = command.path
    for kind, name in scope.get("path_params", {}).items():
        if not NAME.match(name):
            raise InvalidRequest(f"The {kind} in the path {NAME_RULE}.", param=kind)
        path = path.replace(f"{{{kind}}}", name)
    query = scope["query_string"]
    return path + _version(query) if command.by_id and query else path


def _version(query: bytes) -> str:
    """Anything else than one id is refused: without it the whole task would be meant."""
    name, _, value = query.decode("latin-1").partition("=")
    adapter_id = urllib.parse.unquote(value)
    if name != "id" or not ADAPTER_ID.match(adapter_id):
        raise InvalidRequest("The query may name one version, as in ?id=naming@3f2a9c1b04de.", param="id")
    return f"?id={urllib.parse.quote(adapter_id, safe='')}"


async def _fields(
    command: Command, head: Head, receive: Receive, bounds: GatewayConfig
) -> dict[str, msgspec.Raw | str]:
    """What the body holds for the control plane, known fields alone.

    Raises UnsupportedMedia (415), PayloadTooLarge (413), InvalidRequest (400), ClientLeft.
    """
    if command.fields is None:
        return {}
    body = bytes(await read_small_body(head, receive, bounds, MAX_BODY_BYTES, "/admin"))
    fields = decode_body(body or b"{}")
    for name in fields:
        if name not in command.fields:
            known = ", ".join(sorted(command.fields)) or "none"
            raise InvalidRequest(f"Unknown field '{name[:80]}'; known here: {known}.", param=name[:80])
    return dict(fields)
