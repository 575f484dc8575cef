"""Where the benchmark finds and leaves things; it runs from a checkout."""

from __future__ import annotations

import shutil
from pathlib import Path

from gateway.errors import ConfigError

ROOT = Path(__file__).parents[3]
PEERS = ROOT / "tests" / "bench" / "peers"
RESULTS = ROOT / "tests" / "bench" / "results"
ENVIRONMENTS = ROOT / ".bench"

APT = {"wrk": "wrk", "nginx": "nginx-light", "taskset": "util-linux"}


def program(name: str) -> str:
    """A system program's path. Raises ConfigError that names the Debian package."""
    found = found_program(name)
    if found is None:
        raise ConfigError(name, "not found", f"install it: apt-get install {APT.get(name, name)}")
    return found


def found_program(name: str) -> str | None:
    """A system program's path; None where it is not installed."""
    # nginx lives in sbin, which is not on every user's path.
    return shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin:/sbin")


def check_checkout() -> None:
    """Raises ConfigError where the peers' configuration is not beside the code."""
    if not (PEERS / "peers.yaml").is_file():
        raise ConfigError(
            "bench", str(PEERS), "is missing; run the benchmark from a checkout of the repository"
        )
