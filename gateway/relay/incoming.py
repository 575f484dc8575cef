"""A request to the engine as far as it has been looked into, so that nothing of it is read twice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec
from starlette.types import Scope

from gateway.admission.api_keys import ANYBODY, Principal
from gateway.admission.body_lease import BodyLease
from gateway.dialects.cost.grammars import Grammar
from gateway.dialects.dialect import Dialect
from gateway.dialects.request_body import Buffer, Fields
from gateway.http.engine_connection import Segments
from gateway.http.request_cycle import client_of
from gateway.relay.request_record import Exchange
from gateway.relay.shadow.copy import Copy
from gateway.routing.table import Route, Table
from gateway.structs import changed_often


@changed_often
class CheckedCall(msgspec.Struct, eq=False):
    """A checked request, by one table."""

    asked: str
    """The model's name or a version's id, as the client wrote it."""
    route: Route
    fields: Fields
    """The client's own, until `segments` writes the contract into them."""
    streaming: bool
    received_bytes: int
    sticky: bytes | None
    table: Table
    usage_wanted: bool = False
    untried: Sequence[Grammar] = ()
    """What the engine would make grammars of, whose cost is not known yet."""
    _sent: Segments | None = None

    @property
    def written(self) -> bool:
        """Whether its fields are the engine's by now."""
        return self._sent is not None

    def segments(self, dialect: Dialect) -> Segments:
        """The body for the engine, made once. Raises InvalidRequest."""
        if self._sent is not None:
            return self._sent
        if self.streaming:
            self.usage_wanted = dialect.ask_for_usage(self.fields)
        dialect.apply_contract(self.fields, self.route)
        self._sent = sent = dialect.encode_body(self.fields, self.route, self.received_bytes)
        return sent


@changed_often
class Incoming(msgspec.Struct, eq=False):
    """One request. The direct way leaves what it found to the task that goes on with it."""

    exchange: Exchange
    fields: Mapping[str, msgspec.Raw] | None = None
    """Of its body, where they were decoded before it came here."""
    principal: Principal = ANYBODY
    body: Buffer = b""
    lease: BodyLease | None = None
    call: CheckedCall | None = None
    copy: Copy | None = None
    """Chosen with the call, before the contract was written into it."""


def found_in(scope: Scope) -> Incoming | None:
    """What the direct way has found of an ASGI scope's request."""
    client = client_of(scope)
    if client is None:
        return None
    found, client.found = client.found, None  # it has the body, which is not to stay with the connection
    return found if isinstance(found, Incoming) else None
