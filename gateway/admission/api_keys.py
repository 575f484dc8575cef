"""Keys: from the digest of what a client sends to whom it belongs and what that one may call.

Only SHA-256 digests are configured, kept and compared. A look-up by the whole digest leaks nothing of use:
who learns a digest's prefix from the clock still has to find a key that hashes to it.
"""

from __future__ import annotations

import hashlib
import math
import secrets
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import msgspec

from gateway.admission.bad_keys import BadKeys
from gateway.admission.turns.fair_turns import whose_of
from gateway.config.document import KeyConfig
from gateway.config.key_settings import Role, permitted
from gateway.errors import TooManyRequests, Unauthorized

_BEARER = b"bearer "
TWICE = b"\0"
"""In place of a header that came twice: it could mean one thing to a proxy in front and another here."""
KEY_NEEDED = "An API key is needed: send the header 'Authorization: Bearer <key>' or 'x-api-key: <key>'."


@dataclass(frozen=True, slots=True)
class Principal:
    """Whom a key belongs to; `models` is None where every model may be called."""

    name: str
    models: frozenset[str] | None = None
    role: Role = "user"
    tenant: str = ""
    ends_at: float | None = None
    """Unix seconds; the key is refused from then on."""
    disabled: bool = False
    metrics: bool = False

    @property
    def may_read_metrics(self) -> bool:
        """They show every task's traffic, so a key for some models needs the right to."""
        return self.metrics or self.admin or self.models is None

    @property
    def admin(self) -> bool:
        return self.role == "admin"

    @property
    def payer(self) -> str:
        """Whose it is where bounds are shared out: its tenant's, of one without a tenant its own."""
        return whose_of(self.tenant, self.name)[0]

    @property
    def may_nothing(self) -> bool:
        """Whether there is no model that it may call."""
        return self.models is not None and not self.models

    def may(self, model: str) -> bool:
        return self.models is None or model in self.models

    def visible(self, models: Iterable[str]) -> list[str]:
        """Of `models`, those it may call, in their order."""
        return [model for model in models if self.may(model)]


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls from within this process, such as a batch, instead of a client with a key, and what it asks.

    It has no head and stays until it is answered; whoever gives up cancels the call.
    """

    principal: Principal
    origin: str
    """As `request_record.Exchange` has it."""
    request_id: bytes
    body: bytes
    fields: Mapping[str, msgspec.Raw] | None = None
    """The body's, where they are decoded already."""


Peer = tuple[str, int] | None
"""Address and port of a client's end, as ASGI has it; None where that has none, as a Unix socket."""

CALLER = "gateway.caller"
"""The scope's key of a Caller; nothing that comes over a connection can set it."""

ANYBODY = Principal("")
"""Who calls a gateway without keys, which listens on loopback only."""


class FoundKey:
    """Whose key a head has, where the same head may come again; worth nothing once any key has changed."""

    __slots__ = ("among", "principal")

    def __init__(self) -> None:
        self.among: object = None
        """Which keys there were, without holding them: a stream may take an hour, and they change."""
        self.principal = ANYBODY


class Keys:
    """Every key that is known now."""

    def __init__(
        self,
        keys: Mapping[str, KeyConfig],
        models: Iterable[str] = (),
        *,
        required: bool = False,
        bad_keys: BadKeys | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        """`models` are those that a key's patterns may match; `required`: also where there are no keys."""
        self._always_required = self.required = required
        """A key that was revoked or has expired counts: with the last one gone nobody else gets in."""
        self._bad_keys = bad_keys or BadKeys()
        self._now = now
        self._principals: dict[bytes, Principal] = {}
        self._by_name: dict[str, Principal] = {}
        # Apart from the keys, which may be replaced while a ticket is in use.
        self._tickets: dict[bytes, Principal] = {}
        self.replace(keys, models)

    def replace(self, keys: Mapping[str, KeyConfig], models: Iterable[str]) -> None:
        """Other keys from now on."""
        known = list(models)
        principals: dict[bytes, Principal] = {}
        by_name: dict[str, Principal] = {}
        for name, key in keys.items():
            by_name[name] = principals[bytes.fromhex(key.sha256)] = principal_of(name, key, known)
            if key.previous_sha256 is not None and key.previous_until is not None:
                # The former secret opens no longer than the key itself.
                ends = [key.previous_until.timestamp(), by_name[name].ends_at]
                earlier = replace(by_name[name], ends_at=min(end for end in ends if end is not None))
                principals[bytes.fromhex(key.previous_sha256)] = earlier
        # Another object each time: what was found among the former keys (`FoundKey`) is looked up anew.
        self._principals, self._among = principals, object()
        self.required = self._always_required or bool(principals)
        self._by_name = by_name if self.required else {ANYBODY.name: ANYBODY}
        self._payers = len({one.payer for one in self._by_name.values()})

    def named(self, name: str) -> Principal:
        """Whom work was left by, as that key is now. Raises Unauthorized where it may call no more."""
        principal = self._by_name.get(name)
        if principal is None:
            raise Unauthorized(f"The key '{name}' that this was left by is not known here any more.")
        return self._valid(principal)

    def of_digest(self, digest: bytes) -> Principal:
        """Whose key has that SHA-256. Raises Unauthorized where it may call no more."""
        principal = self._principals.get(digest)
        if principal is None:
            raise Unauthorized("The API key is not known here any more.")
        return self._valid(principal)

    @contextmanager
    def ticket(self, principal: Principal) -> Iterator[bytes]:
        """A key for one request from within, for somebody who is known already; worth nothing afterwards."""
        secret = secrets.token_hex(32).encode()
        digest = hashlib.sha256(secret).digest()
        self._tickets[digest] = principal
        try:
            yield secret
        finally:
            del self._tickets[digest]

    @property
    def several(self) -> bool:
        """Whether there is more than one who may call."""
        return len(self._by_name) > 1

    @property
    def several_payers(self) -> bool:
        """Whether they are of more than one tenant; a key without one counts as one."""
        return self._payers > 1

    def principal(
        self,
        authorization: bytes | None,
        api_keys: Sequence[bytes] = (),
        peer: Peer = None,
        found: FoundKey | None = None,
    ) -> Principal:
        """Whose key the Authorization header holds, or one of `api_keys` (`x-api-key`, `api-key`).

        What is empty counts as absent, and of several the one that is known here counts: a client's own
        account elsewhere may stand beside it. `peer` is the client's end, for the bound on bad keys. `found`
        keeps the answer for the same headers.

        Raises Unauthorized, and TooManyRequests for a bad key where too many came from there.
        """
        if not self.required:
            return ANYBODY
        if found is not None and found.among is self._among:
            return found.principal
        principal = self._principal(authorization, api_keys, peer)
        # What ends by itself is looked at each time, and a ticket's end nobody would notice.
        if found is not None and principal.ends_at is None and not self._tickets:
            found.among, found.principal = self._among, principal
        return principal

    def found(self, found: FoundKey) -> Principal | None:
        """Whose key it still is; None where it must be looked up."""
        if not self.required:
            return ANYBODY
        return found.principal if found.among is self._among else None

    def _principal(self, authorization: bytes | None, api_keys: Sequence[bytes], peer: Peer) -> Principal:
        if api_keys:
            return self._of_several(authorization, api_keys, peer)
        if authorization is None:
            raise Unauthorized(KEY_NEEDED)
        if authorization[:7].lower() != _BEARER:
            raise Unauthorized("The Authorization header must read 'Bearer <key>'.")
        principal = self._known(authorization[7:])
        if principal is None:
            raise self._bad(peer)
        # Most keys have no end, and each request with a new head comes here: for them `_valid` is not called.
        return principal if principal.ends_at is None and not principal.disabled else self._valid(principal)

    def _of_several(self, authorization: bytes | None, api_keys: Sequence[bytes], peer: Peer) -> Principal:
        if authorization == TWICE or TWICE in api_keys:
            raise Unauthorized("A header with a key was sent twice.")
        sent = [key.strip() for key in api_keys]
        if authorization is not None and authorization[:7].lower() == _BEARER:
            sent.append(authorization[7:].strip())
        sent = [key for key in sent if key]
        found = [principal for key in sent if (principal := self._known(key)) is not None]
        # By name: one key may stand in both headers, in one by its former secret, which ends first.
        found.sort(key=lambda one: math.inf if one.ends_at is None else one.ends_at)
        known = {principal.name: principal for principal in found}
        if len(known) > 1:
            raise Unauthorized(f"The headers hold the keys of {' and '.join(known)}; send one of them.")
        if not known:
            raise self._bad(peer) if sent else Unauthorized(KEY_NEEDED)
        return self._valid(next(iter(known.values())))

    def _known(self, key: bytes) -> Principal | None:
        digest = hashlib.sha256(key.strip()).digest()
        return self._principals.get(digest) or self._tickets.get(digest)

    def _valid(self, principal: Principal) -> Principal:
        """Raises Unauthorized for a key that was revoked or has expired."""
        if principal.disabled:
            raise Unauthorized("The API key was revoked.")
        if principal.ends_at is not None and self._now() >= principal.ends_at:
            raise Unauthorized("The API key has expired.")
        return principal

    def _bad(self, peer: Peer) -> Unauthorized | TooManyRequests:
        wait_s = self._bad_keys.count(peer[0] if peer else "")
        if wait_s is None:
            return Unauthorized("The API key is not known here.")
        return TooManyRequests(
            "Too many unknown API keys came from this address; a key that is known here is still taken.",
            code="too_many_bad_keys",
            retry_after_s=wait_s,
        )


def principal_of(name: str, key: KeyConfig, models: Iterable[str]) -> Principal:
    """Whom a key of the configuration stands for, of the `models` that there are."""
    ends_at = None if key.expires_at is None else key.expires_at.timestamp()
    role, tenant = key.effective_role, key.tenant or ""
    return Principal(name, permitted(key.tasks, models), role, tenant, ends_at, key.disabled, key.metrics)
