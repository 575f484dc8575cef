"""Opening what somebody else wrote: regular files only, within given folders, read within a bound."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, NoReturn

MAX_JSON_BYTES = 1024 * 1024

CONFIG = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"
FILES = (CONFIG, WEIGHTS)
"""All that an adapter consists of."""
PICKLES = ("adapter_model.bin", "adapter_model.pt")


LFS_POINTER = b"version https://git-lfs"
POINTER_BYTES = 64


class Unfit(ValueError):
    """Why a file will not do; the text follows its name, and ends with what to do."""


@dataclass(frozen=True)
class Origin:
    """Where a folder comes from, as far as the checks need it."""

    shown: str
    """Named in errors in the folder's place, since a download lies in a folder that is soon gone."""
    roots: tuple[Path, ...] | None = None
    """Each file must really lie in one of these; None: anywhere."""
    max_bytes: int | None = None
    """The adapter's bound, both files together."""
    sha256: str | None = None
    """What adapter_model.safetensors must be, in hex."""


def open_regular(path: Path, roots: Sequence[Path] | None = None) -> BinaryIO:
    """Open a file for reading without ever waiting for a pipe or waking a device. Raises Unfit, OSError."""
    _refuse_special(os.stat(path).st_mode)
    # What lies there may have been exchanged since, so what was opened is judged again.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    try:
        _refuse_special(os.fstat(descriptor).st_mode)
        # Of the descriptor, since the path may lead elsewhere by now.
        real = Path(os.readlink(f"/proc/self/fd/{descriptor}"))
        if roots is not None and not lies_within(real, roots):
            raise Unfit(f"is a link to {real}, outside adapters.roots; put the file itself there")
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def lies_within(real: Path, roots: Sequence[Path]) -> bool:
    """Whether an already resolved path lies in one of the roots."""
    return any(real.is_relative_to(root.resolve()) for root in roots)


def read_json(file: BinaryIO) -> tuple[object, bytes]:
    """A small JSON document, and its bytes as UTF-8; strict where Python is lax. Raises Unfit, OSError."""
    raw = file.read(MAX_JSON_BYTES + 1)
    if len(raw) > MAX_JSON_BYTES:
        raise Unfit(f"is larger than {MAX_JSON_BYTES} bytes; write peft's settings alone in it")
    refuse_pointer(raw)
    raw = plain_utf8(raw)
    return parse_json(raw), raw


def refuse_pointer(beginning: bytes) -> None:
    """Raises Unfit for what git puts in a large file's place."""
    if beginning.startswith(LFS_POINTER):
        raise Unfit(
            "is a Git LFS pointer in the file's place; run git lfs pull where it was cloned, or fetch it"
        )


def plain_utf8(raw: bytes) -> bytes:
    """JSON as the engine reads it: UTF-8 without a mark, whatever editor wrote it. Raises Unfit."""
    encoding = json.detect_encoding(raw)
    if encoding == "utf-8":
        return raw
    try:
        return raw.decode(encoding).encode()
    except UnicodeError as error:
        raise Unfit(f"is not JSON: {error}; save the adapter again") from error


def parse_json(raw: bytes) -> object:
    """Raises Unfit for what is no JSON, holds a key twice, NaN or Infinity, or is nested too deeply."""
    try:
        # Of bytes json would take half characters too, which the engine's reader refuses.
        return json.loads(raw.decode(), object_pairs_hook=_distinct, parse_constant=_refuse_constant)
    except RecursionError as error:
        raise Unfit("is nested too deeply; save the adapter again") from error
    except Unfit:
        raise
    except ValueError as error:  # also bad UTF-8, and numbers of too many digits
        raise Unfit(f"is not JSON: {error}; save the adapter again") from error


def _distinct(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found: dict[str, object] = {}
    for name, value in pairs:
        if name in found:
            raise Unfit(f"holds the key {shorten(name)} twice; leave one")
        found[name] = value
    return found


def _refuse_constant(name: str) -> NoReturn:
    raise Unfit(f"holds {name}, which is no number; save the adapter again")


def shorten(text: object, limit: int = 120) -> str:
    """Foreign text as one bounded, printable line."""
    shown = text if isinstance(text, str) else repr(text)
    plain = "".join(letter if letter.isprintable() else "?" for letter in shown[: limit + 1])
    return plain if len(plain) <= limit else plain[: limit - 3] + "..."


def _refuse_special(mode: int) -> None:
    if stat.S_ISREG(mode):
        return
    kinds = {
        stat.S_IFDIR: "a folder",
        stat.S_IFIFO: "a pipe",
        stat.S_IFSOCK: "a socket",
        stat.S_IFCHR: "a device",
        stat.S_IFBLK: "a device",
    }
    raise Unfit(f"is {kinds.get(stat.S_IFMT(mode), 'no file')}; put a regular file there")
