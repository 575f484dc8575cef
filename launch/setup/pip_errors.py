"""What went wrong in pip's output, said so that it can be mended. Standard library only: set-up uses it."""

from __future__ import annotations

import platform
import re

_OFFLINE = re.compile(
    r"Temporary failure in name resolution|Name or service not known|NameResolutionError|NewConnectionError"
    r"|Network is unreachable|Read timed out|ConnectTimeout|Connection refused|ProxyError"
)
_LINKED = re.compile(r"(?:/simple/|/whl/cpu/)([A-Za-z0-9._-]+)/?'?")
_UNOFFERED = re.compile(r"No matching distribution found for ([^\s;]+)")
_CHANGED = re.compile(r"^\s+(\S+)(?: from .*)?:\s*\n\s+Expected sha256", re.MULTILINE)


def is_unoffered(log: str) -> bool:
    """Whether pip reached its sources and none of them had the package."""
    return _UNOFFERED.search(log) is not None and _OFFLINE.search(log) is None


def explain(log: str) -> str | None:
    """What failed and the mend, in a sentence or two; None where the output tells nothing known."""
    unoffered = _UNOFFERED.findall(log)
    if "No space left on device" in log:
        return "the disk is full: free some space and run the same command again"
    if "DO NOT MATCH THE HASHES" in log:
        changed = _CHANGED.findall(log)
        return (
            f"{changed[0] if changed else 'a package'} is not the file that is pinned: run `pip cache purge` "
            "and try again; if it stays, the package source serves a changed file, so do not use it"
        )
    if _OFFLINE.search(log):
        linked = _LINKED.findall(log)
        name = unoffered[-1] if unoffered else linked[-1] if linked else "a package"
        return (
            f"no network: {name} could not be fetched: connect, or set PIP_INDEX_URL or PIP_FIND_LINKS to a "
            "source that has it, then run the same command again"
        )
    if unoffered:
        return (
            f"no package source has {unoffered[-1]} for Python {platform.python_version()} on "
            f"{platform.machine()}: set PYTHON to another Python from 3.11 to 3.13, or "
            "PIP_INDEX_URL to a full index"
        )
    return None
