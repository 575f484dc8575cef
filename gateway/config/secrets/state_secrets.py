"""Secrets of a state directory: random, each in a file of its own that its owner alone may read."""

from __future__ import annotations

import os
import secrets
from contextlib import suppress
from pathlib import Path

from gateway.errors import ConfigError

ENGINE_KEY = "engine.key"
"""What our own engines ask for."""
CACHE_KEY = "prefix-cache.key"
"""What tenants' shares of an engine's prefix cache are told apart by."""


def kept_secret(state_dir: Path, name: str) -> str:
    """The secret of that name, 256 bits in base64; empty where there is none that can be read."""
    try:
        return (state_dir / name).read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return ""


def made_secret(state_dir: Path, name: str) -> str:
    """The same, made where there is none. Raises OSError.

    Of several processes that make it at once, the first to link its file there has made it for all.
    """
    if held := kept_secret(state_dir, name):
        return held
    state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    fresh = state_dir / f".{name}.{os.getpid()}.{secrets.token_hex(4)}"
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(secrets.token_urlsafe(32))
            file.flush()
            os.fsync(file.fileno())  # else a power failure may leave the name with nothing in it
        # No rename: that would put a later one in the place of what others use by then.
        with suppress(FileExistsError):
            os.link(fresh, state_dir / name)
    finally:
        fresh.unlink()
    held = kept_secret(state_dir, name)
    if not held:
        raise OSError(f"{state_dir / name} cannot be read; remove it, and another is made")
    return held


def needed_secret(state_dir: Path, name: str) -> str:
    """As `made_secret`, for a start. Raises ConfigError."""
    try:
        return made_secret(state_dir, name)
    except OSError as error:
        mend = f"cannot be kept ({error.strerror or error}); make room there, or mend rights"
        raise ConfigError("state_dir", str(state_dir / name), mend) from error
