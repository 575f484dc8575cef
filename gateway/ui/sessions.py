"""Who is signed in at the page: one small file for each session, so that every worker knows it at once.

A file's name is the digest of the session's secret, its content the key's: neither lets anybody in.
A session is worth what its key is worth at that moment, so that a revoked one ends it at once.
"""

from __future__ import annotations

import hashlib
import re
import secrets
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import msgspec

from gateway.admission.api_keys import Keys, Principal
from gateway.errors import NOT_JSON, Unauthorized
from gateway.whole_files import write_whole

FOLDER = "sessions"
LASTS_S = 12 * 3600.0
MOST = 512
"""At once; of the key that has most of them the one that ends first makes room for another."""
MOST_OF_KEY = 32
"""Of these one key's, so that nobody signs the others out by signing in."""
_SECRET = re.compile(r"^[A-Za-z0-9_-]{43}\Z")


class Session(msgspec.Struct, frozen=True):
    """What is kept of one."""

    key: str
    """SHA-256 of the key, in hexadecimal."""
    ends_at: float
    """Unix seconds."""


_decode = msgspec.json.Decoder(Session).decode


class Sessions:
    """Those of one state directory."""

    def __init__(self, state_dir: Path, keys: Keys, now: Callable[[], float] = time.time) -> None:
        self._folder = state_dir / FOLDER
        self._keys = keys
        self._now = now

    def begin(self, key: bytes) -> str:
        """A new session's secret, for a key that was looked at already. Raises OSError."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        session = Session(hashlib.sha256(key).hexdigest(), self._now() + LASTS_S)
        self._make_room(session.key)
        secret = secrets.token_urlsafe(32)
        write_whole(self._file(secret), msgspec.json.encode(session))
        return secret

    def principal(self, secret: str) -> Principal:
        """Who is signed in. Raises Unauthorized (401) where nobody is any more."""
        session = self._read(secret)
        if session is None or self._now() >= session.ends_at:
            raise Unauthorized("Nobody is signed in here; sign in with a key.", code="signed_out")
        return self._keys.of_digest(bytes.fromhex(session.key))

    def end(self, secret: str) -> None:
        """It lets nobody in any more."""
        if _SECRET.match(secret):
            self._file(secret).unlink(missing_ok=True)

    def _read(self, secret: str) -> Session | None:
        return _kept(self._file(secret)) if _SECRET.match(secret) else None

    def _file(self, secret: str) -> Path:
        return self._folder / hashlib.sha256(secret.encode()).hexdigest()

    def _make_room(self, key: str) -> None:
        """For one more session of the key with this digest."""
        found = ((file, _kept(file)) for file in self._folder.iterdir())
        # What cannot be read is another worker's, that is being written.
        held = sorted((session.ends_at, file, session.key) for file, session in found if session)
        alive = [one for one in held if one[0] > self._now()]
        own = [one for one in alive if one[2] == key]
        too_many = own[: max(0, len(own) - MOST_OF_KEY + 1)]
        rest = [one for one in alive if one not in too_many]
        while len(rest) >= MOST:
            ((most, _),) = Counter(one[2] for one in rest).most_common(1)
            rest.remove(next(one for one in rest if one[2] == most))
        for one in held:
            if one not in rest:
                one[1].unlink(missing_ok=True)


def _kept(file: Path) -> Session | None:
    try:
        return _decode(file.read_bytes())
    except (OSError, *NOT_JSON):
        return None
