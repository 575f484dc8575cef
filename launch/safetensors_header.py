"""A safetensors file's header: names, shapes and places of its tensors, without reading one of them."""

from __future__ import annotations

import json
import math
import struct
from dataclasses import dataclass
from pathlib import Path

MAX_HEADER_BYTES = 100 * 1024 * 1024  # the format's own limit
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
    dtype: str
    shape: tuple[int, ...]


def read_header(path: Path) -> dict[str, Tensor]:
    """Every tensor's type and shape; raises BadHeader or OSError."""
    size = path.stat().st_size
    with path.open("rb") as file:
        first = file.read(8)
        if len(first) < 8:
            raise BadHeader(f"has {size} bytes, too few for a safetensors file")
        (length,) = struct.unpack("<Q", first)
        if length > MAX_HEADER_BYTES:
            raise BadHeader("does not begin like a safetensors file")
        if 8 + length > size:
            raise BadHeader(f"is truncated: its header needs {8 + length} bytes, the file has {size}")
        raw = file.read(length)
    try:
        entries = json.loads(raw)
    except ValueError as error:
        raise BadHeader("has a header that is not JSON") from error
    if not isinstance(entries, dict):
        raise BadHeader("has a header that is no JSON object")
    data_bytes = size - 8 - length
    tensors: dict[str, Tensor] = {}
    end = 0
    for name, entry in entries.items():
        if name == "__metadata__":
            continue
        tensors[name], last = _tensor(name, entry)
        end = max(end, last)
    if end > data_bytes:
        raise BadHeader(f"is truncated: its tensors need {8 + length + end} bytes, the file has {size}")
    if end < data_bytes:
        raise BadHeader(f"has {data_bytes - end} bytes after its last tensor")
    return tensors


def _tensor(name: str, entry: object) -> tuple[Tensor, int]:
    if not isinstance(entry, dict):
        raise BadHeader(f"describes {name} wrongly")
    dtype, shape, offsets = entry.get("dtype"), entry.get("shape"), entry.get("data_offsets")
    if (
        not isinstance(dtype, str)
        or not isinstance(shape, list)
        or not all(isinstance(side, int) and side >= 0 for side in shape)
        or not isinstance(offsets, list)
        or len(offsets) != 2
        or not all(isinstance(offset, int) and offset >= 0 for offset in offsets)
    ):
        raise BadHeader(f"describes {name} wrongly")
    start, end = offsets
    bits = ITEM_BITS.get(dtype)
    if end < start or (bits is not None and (end - start) * 8 != math.prod(shape) * bits):
        raise BadHeader(f"gives {name} {end - start} bytes, which does not fit {dtype} {shape}")
    return Tensor(dtype, tuple(shape)), end
