"""Keys: from the digest of what a client sends to whom it belongs and what that one may call.

Only SHA-256 digests are configured, kept and compared. A look-up by the whole digest leaks nothing of use:
who learns a digest's prefix from the clock still has to find a key that hashes to it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from gateway.config.document import KeyConfig
from gateway.errors import Unauthorized

_BEARER = b"bearer "
TWICE = b"\0"
"""In place of a header that came twice: it could mean one thing to a proxy in front and another here."""
KEY_NEEDED = "An API key is needed: send the header 'Authorization: Bearer <key>' or 'x-api-key: <key>'."


@dataclass(frozen=True, slots=True)
class Principal:
    """Whom a key belongs to; `models` is None where every model may be called."""

    name: str
    models: frozenset[str] | None = None
    admin: bool = False

    def may(self, model: str) -> bool:
        return self.models is None or model in self.models

    def visible(self, models: Iterable[str]) -> list[str]:
        """Of `models`, those it may call, in their order."""
        return [model for model in models if self.may(model)]


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls from within this process, such as a batch, instead of a client with a key."""

    principal: Principal
    origin: str
    """As `request_record.Exchange` has it."""


CALLER = "gateway.caller"
"""The scope's key of a Caller; nothing that comes over a connection can set it."""

ANYBODY = Principal("")
"""Who calls a gateway without keys, which listens on loopback only."""


class Keys:
    """Every key of a configuration."""

    def __init__(self, keys: Mapping[str, KeyConfig]) -> None:
        self._principals: dict[bytes, Principal] = {}
        self._by_name: dict[str, Principal] = {}
        self.replace(keys)

    def replace(self, keys: Mapping[str, KeyConfig]) -> None:
        """Other keys from now on."""
        self._principals = {
            bytes.fromhex(key.sha256): Principal(
                name, None if key.tasks is None else frozenset(key.tasks), key.admin
            )
            for name, key in keys.items()
        }

        self._by_name = {one.name: one for one in self._principals.values()} or {ANYBODY.name: ANYBODY}

    def named(self, name: str) -> Principal:
        """Whom work was left by, as that key is now. Raises Unauthorized where it is gone."""
        principal = self._by_name.get(name)
        if principal is None:
            raise Unauthorized(f"The key '{name}' that this was left by is not known here any more.")
        return principal

    @property
    def required(self) -> bool:
        return bool(self._principals)

    def principal(self, authorization: bytes | None, api_keys: Sequence[bytes] = ()) -> Principal:
        """Whose key the Authorization header holds, or one of `api_keys` (`x-api-key`, `api-key`).

        What is empty counts as absent, and of several the one that is known here counts: a client's own
        account elsewhere may stand beside it. Raises Unauthorized.
        """
        if not self._principals:
            return ANYBODY
        if api_keys:
            return self._of_several(authorization, api_keys)
        if authorization is None:
            raise Unauthorized(KEY_NEEDED)
        if authorization[:7].lower() != _BEARER:
            raise Unauthorized("The Authorization header must read 'Bearer <key>'.")
        principal = self._known(authorization[7:])
        if principal is None:
            raise Unauthorized("The API key is not known here.")
        return principal

    def _of_several(self, authorization: bytes | None, api_keys: Sequence[bytes]) -> Principal:
        if authorization == TWICE or TWICE in api_keys:
            raise Unauthorized("A header with a key was sent twice.")
        sent = [key.strip() for key in api_keys]
        if authorization is not None and authorization[:7].lower() == _BEARER:
            sent.append(authorization[7:].strip())
        sent = [key for key in sent if key]
        known = {principal.name: principal for key in sent if (principal := self._known(key)) is not None}
        if len(known) > 1:
            raise Unauthorized(f"The headers hold the keys of {' and '.join(known)}; send one of them.")
        if not known:
            raise Unauthorized("The API key is not known here." if sent else KEY_NEEDED)
        return next(iter(known.values()))

    def _known(self, key: bytes) -> Principal | None:
        return self._principals.get(hashlib.sha256(key.strip()).digest())
