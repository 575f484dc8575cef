"""One pass over a safetensors file's data: its digest, and what its numbers are.

The digest and the findings come from the same bytes, so an id never names content that was not checked.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import BinaryIO, Protocol

from launch.base.safetensors_header import BadHeader, Tensor

BLOCK_BYTES = 1 << 20  # a multiple of every item's size

_SIGN = b"\x00\x80"
"""A zero's last byte is all sign."""


def _sane(mask: int) -> bytes:
    """The last bytes (of an item, little-endian) whose exponent is not all ones under `mask`."""
    return bytes(value for value in range(256) if value & mask != mask)


# Per type: bytes of an item, and the last bytes that a finite number may have. For bfloat16 and float32 the
# exponent's lowest bit is in the byte before, so numbers over 1.7e38 count too: no trained adapter has them.
FLOATS = {"F16": (2, _sane(0x7C)), "BF16": (2, _sane(0x7F)), "F32": (4, _sane(0x7F))}


class Reader(Protocol):
    """A digest, or whatever else takes the bytes in passing."""

    def update(self, data: bytes, /) -> object: ...


@dataclass
class Findings:
    """What the numbers are; a tensor without any is zero."""

    zero: set[str] = field(default_factory=set)
    endless: list[str] = field(default_factory=list)
    """Tensors with a NaN, an infinity or a number beyond 1.7e38."""


def scan(file: BinaryIO, tensors: Mapping[str, Tensor], readers: Iterable[Reader]) -> Findings:
    """Read the data to its end, from a file that stands at its beginning. Raises BadHeader, OSError."""
    findings, readers = Findings(), list(readers)
    for name, tensor in sorted(tensors.items(), key=lambda item: (item[1].start, item[1].end)):
        zero, endless, left = True, False, tensor.end - tensor.start
        while left:
            block = file.read(min(BLOCK_BYTES, left))
            if not block or len(block) < min(BLOCK_BYTES, left):
                raise BadHeader("became shorter while it was read")
            left -= len(block)
            for reader in readers:
                reader.update(block)
            if tensor.dtype in FLOATS:
                size, sane = FLOATS[tensor.dtype]
                zero = zero and _is_zero(block, size)
                endless = endless or bool(block[size - 1 :: size].translate(None, sane))
        if zero:
            findings.zero.add(name)
        if endless:
            findings.endless.append(name)
    if file.read(1):
        raise BadHeader("became longer while it was read")
    return findings


def _is_zero(block: bytes, size: int) -> bool:
    """Zeros of either sign."""
    if block.count(0) == len(block):
        return True
    if any(block[size - 1 :: size].translate(None, _SIGN)):
        return False
    return all(part.count(0) == len(part) for part in (block[place::size] for place in range(size - 1)))
