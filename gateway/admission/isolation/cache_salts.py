"""Whose part of an engine's prefix cache a request reads and fills.

The engine finds a prompt's beginning in its cache by a hash of the tokens, the adapter and a salt. Who
shares all three can tell from an answer's time that somebody has sent the same beginning before. So each
tenant has a salt of its own, and what a client sends as its salt is folded with whose it is: another's is
worth nothing.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import logging
import secrets
from pathlib import Path
from typing import Literal

import msgspec

from gateway.admission.api_keys import ANYBODY, Principal
from gateway.config.secrets.state_secrets import CACHE_KEY, made_secret
from gateway.errors import NOT_JSON

logger = logging.getLogger("gateway.admission.cache_salts")

Parting = Literal["tenant", "key", "none"]
"""Who shares: a tenant's keys, and those without a tenant; nobody; everybody, and salts pass as they come."""

_decode = msgspec.json.Decoder(str).decode


class CacheSalts:
    """Salts of one state directory: workers and gateways on it give a tenant the same."""

    def __init__(self, state_dir: Path, parting: Parting) -> None:
        self._state_dir = state_dir
        self._parting = parting
        self._secret = b""
        self._own: dict[tuple[str, str], msgspec.Raw] = {}
        """Of those who send none; as many as there are tenants, or keys."""

    def salt_for(self, principal: Principal, given: msgspec.Raw | None) -> msgspec.Raw | None:
        """What goes to the engine as `cache_salt`, JSON; None where nothing does.

        `given` is what the client sent. What is no text is left to the engine, which refuses it.
        """
        if self._parting == "none" or principal is ANYBODY:
            return given
        if given is None and self._parting == "tenant" and not principal.tenant:
            return None
        whose = ("tenant", principal.tenant)
        if self._parting == "key" or not principal.tenant:
            whose = ("key", principal.name)
        if given is None:
            if whose not in self._own:
                self._own[whose] = self._folded(whose, "")
            return self._own[whose]
        try:
            text = _decode(given)
        except NOT_JSON:
            return given
        # An empty one too is the engine's to refuse.
        return self._folded(whose, text) if text else given

    def _folded(self, whose: tuple[str, str], text: str) -> msgspec.Raw:
        """256 bits in an alphabet that the engine takes; its bound is 128 characters."""
        # Each part with its length: no two owners' texts are cut together to the same.
        said = b"".join(b"%d:%b" % (len(part), part) for part in (one.encode() for one in (*whose, text)))
        digest = hmac.new(self._key(), said, hashlib.sha256).digest()
        return msgspec.Raw(b'"%b"' % base64.urlsafe_b64encode(digest).rstrip(b"="))

    def _key(self) -> bytes:
        if not self._secret:
            try:
                self._secret = made_secret(self._state_dir, CACHE_KEY).encode()
            except OSError as error:
                logger.warning("%s; other workers' salts will differ", error)
                self._secret = secrets.token_bytes(32)
        return self._secret
