"""Foreign bytes on their way into scratch: counted, digested, and never more than was announced."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

from launch.adapters.weights import Reader
from launch.machine.files import Unfit

BLOCK_BYTES = 1 << 20
SCRATCH = ".incoming-"
"""How a folder begins that holds what is on its way; a start sweeps away those that are left."""
SPARE_BYTES = 64 * 1024 * 1024
"""Left free on a disk that an adapter is written to."""
SHOWN_STEPS = 20
"""A download's progress is told so often."""

# What network libraries raise beside OSError; looked up where they are loaded, since most starts need none.
LIBRARY_ERRORS = (
    ("httpx", "HTTPError"),
    ("httpx", "InvalidURL"),
    ("aiohttp", "ClientError"),
    ("botocore.exceptions", "BotoCoreError"),
    ("botocore.exceptions", "ClientError"),
)

OnStage = Callable[[str], None]


def receive(
    blocks: Iterable[bytes], target: Path, size: int, digests: Iterable[Reader], on_stage: OnStage
) -> None:
    """Write exactly `size` bytes. Raises Unfit for more or fewer, and what `blocks` raises."""
    digests, received, told = list(digests), 0, 0
    with target.open("xb") as file:
        for block in blocks:
            received += len(block)
            if received > size:
                raise Unfit(f"sends more than the {size} bytes that it announced; try again")
            file.write(block)
            for digest in digests:
                digest.update(block)
            step = received * SHOWN_STEPS // size
            if step > told:
                told = step
                on_stage(f"downloading {target.name}: {100 * received // size} %")
    if received < size:
        raise Unfit(f"ended after {received} of {size} bytes; try again")


def need_room(folder: Path, size: int) -> None:
    """For a download and the copy that is kept of it. Raises Unfit, OSError."""
    free = shutil.disk_usage(folder).free
    if free < 2 * size + SPARE_BYTES:
        raise Unfit(
            f"needs {2 * size / 1e6:.0f} MB in {folder}, which has {free / 1e6:.0f} MB free; make room"
        )


def check_bound(what: str, size: int, max_bytes: int) -> None:
    """Raises Unfit where `what` has more than `max_bytes`."""
    if size > max_bytes:
        raise Unfit(
            f"{what} has {size} bytes, over adapters.max_bytes {max_bytes}; raise that, or use a smaller one"
        )


def check_digest(what: str, found: str, wanted: str, where: str) -> None:
    """Raises Unfit. `where` says who wants it."""
    if found != wanted:
        raise Unfit(
            f"{what} has the digest {found[:12]}…, {where} {wanted[:12]}…; "
            "it is another file, or was damaged on its way: fetch it again, or correct the digest"
        )


def network_errors() -> tuple[type[Exception], ...]:
    """To be caught around a network library's calls."""
    found = [getattr(sys.modules[module], name) for module, name in LIBRARY_ERRORS if module in sys.modules]
    return (OSError, *found)


def describe(error: Exception) -> str:
    """Without an address, in which a signature may stand."""
    text = error.strerror if isinstance(error, OSError) else None
    return text or type(error).__name__
