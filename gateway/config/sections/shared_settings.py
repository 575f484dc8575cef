"""The configuration's section `shared`: the server through which several gateways agree."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import urlsplit

from pydantic import Field, field_validator

from gateway.config.strict import Name, Seconds, Strict

_ADDRESS = re.compile(r"^(rediss?://[^/\s]|unix://.*/)\S*\Z")


class SharedConfig(Strict):
    """What several gateways agree on, through one Redis or Valkey (`pip install lora-gateway[redis]`)."""

    redis: str = Field(
        description="its address, redis://, rediss:// or unix://, with user and password where it wants them"
    )
    prefix: Name = Field("lora-gateway", description="how its keys begin there; the same in all that agree")
    timeout_ms: Seconds = Field(
        50.0, description="longest wait for it that a request takes; slower, it counts as away"
    )
    folder: Path | None = Field(
        None,
        description="a folder that all machines have under this path, with locks that hold between them "
        "(NFS 4): what commands change, adapters, files and batches stand there, so that another gateway "
        "finishes batches, and another control plane leads, when one ends; default: each machine's state_dir",
    )
    follow: bool = Field(
        False, description="true: no control plane runs on this machine, its table comes from Redis"
    )

    @field_validator("redis")
    @classmethod
    def _address(cls, value: str) -> str:
        if not _ADDRESS.match(value):  # it may hold a password, and is not repeated
            raise ValueError("write redis://host:6379/0, rediss://… for TLS, or unix:///path/of/its/socket")
        if not value.startswith("unix:") and not _is_whole(value):
            mend = "in user and password / is written %2F, ? %3F, # %23 and @ %40"
            raise ValueError(f"names no host and port; {mend}")
        return value


def _is_whole(address: str) -> bool:
    """Whether the user and password end before the host: one with a slash would be read as host and port."""
    try:
        parts = urlsplit(address)
        rest = f"{parts.path}{parts.query.partition('=')[0]}{parts.fragment}"
        return bool(parts.hostname) and parts.port != 0 and "@" not in rest
    except ValueError:
        return False
