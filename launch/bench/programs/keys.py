"""The keys that a benchmark asks with, as a configuration has them."""

from __future__ import annotations

import hashlib


def key_settings(key: str) -> dict[str, str]:
    """One of the section `keys`: its digest, as the file of a configuration holds no key itself."""
    return {"sha256": hashlib.sha256(key.encode()).hexdigest()}
