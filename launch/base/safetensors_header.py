"""A safetensors file's header: names, shapes and places of its tensors, without reading one of them."""

from __future__ import annotations

import json
import math
import struct
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import BinaryIO

from gateway.errors import NOT_JSON
from launch.machine.files import shorten

MAX_HEADER_BYTES = 100 * 1024 * 1024  # the format's own limit
MAX_NAME_CHARS = 512
MAX_SIDES = 8
ITEM_BITS = {
    **dict.fromkeys(("BOOL", "U8", "I8", "F8_E4M3", "F8_E5M2"), 8),
    **dict.fromkeys(("U16", "I16", "F16", "BF16"), 16),
    **dict.fromkeys(("U32", "I32", "F32"), 32),
    **dict.fromkeys(("U64", "I64", "F64"), 64),
}


class BadHeader(ValueError):
    """Why the file is no whole safetensors file."""


@dataclass(frozen=True)
class Tensor:
    """Its type, its sides, and its bytes' place after the header."""

    dtype: str
    shape: tuple[int, ...]
    start: int = 0
    end: int = 0


@dataclass(frozen=True)
class Header:
    raw: bytes
    """The file's beginning: eight bytes of length, then the JSON."""
    tensors: dict[str, Tensor]


def read_header(path: Path) -> dict[str, Tensor]:
    """Every tensor's type and shape; raises BadHeader or OSError."""
    with path.open("rb") as file:
        return read_header_of(file, path.stat().st_size).tensors


def read_header_of(file: BinaryIO, size: int, max_bytes: int = MAX_HEADER_BYTES) -> Header:
    """From an open file of `size` bytes, which is left at the data's beginning. Raises BadHeader, OSError."""
    first = file.read(8)
    if len(first) < 8:
        raise BadHeader(f"has {size} bytes, too few for a safetensors file")
    (length,) = struct.unpack("<Q", first)
    if length > MAX_HEADER_BYTES:
        raise BadHeader("does not begin like a safetensors file")
    if length > max_bytes:
        raise BadHeader(f"has a header of {length} bytes, over {max_bytes}")
    if 8 + length > size:
        raise BadHeader(f"is truncated: its header needs {8 + length} bytes, the file has {size}")
    raw = file.read(length)
    if len(raw) < length:
        raise BadHeader("became shorter while it was read")
    return Header(first + raw, _tensors(raw, size - 8 - length))


def _tensors(raw: bytes, data_bytes: int) -> dict[str, Tensor]:
    try:
        # Of bytes json would take UTF-16 and half characters too; the engine's reader wants UTF-8.
        entries = json.loads(raw.decode(), object_pairs_hook=_distinct)
    except BadHeader:
        raise
    except NOT_JSON as error:
        raise BadHeader("has a header that is not JSON") from error
    if not isinstance(entries, dict):
        raise BadHeader("has a header that is no JSON object")
    _check_metadata(entries.pop("__metadata__", {}))
    tensors = {name: _tensor(name, entry) for name, entry in entries.items()}
    _check_places(tensors, data_bytes, len(raw) + 8)
    return tensors


def _distinct(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise BadHeader("names a tensor or a field twice in its header")
    return found


def _check_metadata(metadata: object) -> None:
    # The engine's own reader refuses the whole file for anything else.
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise BadHeader("has a __metadata__ that is no table of texts")


def _check_places(tensors: dict[str, Tensor], data_bytes: int, header_bytes: int) -> None:
    """The format wants every byte of the data in exactly one tensor."""
    placed = sorted(tensors.items(), key=lambda item: (item[1].start, item[1].end))
    end = placed[-1][1].end if placed else 0
    if end > data_bytes:
        total = header_bytes + data_bytes
        raise BadHeader(f"is truncated: its tensors need {header_bytes + end} bytes, the file has {total}")
    if placed and placed[0][1].start > 0:
        raise BadHeader(f"has {placed[0][1].start} bytes before its first tensor")
    for (earlier, one), (later, other) in pairwise(placed):
        if other.start < one.end:
            raise BadHeader(f"puts {shorten(earlier)} and {shorten(later)} in the same place")
        if other.start > one.end:
            raise BadHeader(f"has {other.start - one.end} bytes of nothing before {shorten(later)}")
    if end < data_bytes:
        raise BadHeader(f"has {data_bytes - end} bytes after its last tensor")


def _tensor(name: str, entry: object) -> Tensor:
    if len(name) > MAX_NAME_CHARS or not name.isprintable():
        raise BadHeader(f"has a tensor with an impossible name, {shorten(name)}")
    if not isinstance(entry, dict):
        raise BadHeader(f"describes {shorten(name)} wrongly")
    dtype, shape, offsets = entry.get("dtype"), entry.get("shape"), entry.get("data_offsets")
    if (
        not isinstance(dtype, str)
        or not isinstance(shape, list)
        or len(shape) > MAX_SIDES
        or not all(_is_count(side) for side in shape)
        or not isinstance(offsets, list)
        or len(offsets) != 2
        or not all(_is_count(offset) for offset in offsets)
    ):
        raise BadHeader(f"describes {shorten(name)} wrongly")
    start, end = offsets
    bits = ITEM_BITS.get(dtype)
    if end < start or (bits is not None and (end - start) * 8 != math.prod(shape) * bits):
        raise BadHeader(f"gives {shorten(name)} {end - start} bytes, which does not fit {dtype} {shape}")
    return Tensor(dtype, tuple(shape), start, end)


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 63
