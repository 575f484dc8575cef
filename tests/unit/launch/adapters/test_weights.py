"""One pass over an adapter's numbers: every byte goes by, and what is zero or no number is found."""

from __future__ import annotations

import hashlib
import io
import struct

import pytest

from launch.adapters import weights
from launch.adapters.weights import scan
from launch.base.safetensors_header import BadHeader, Tensor


def bf16(*numbers: float) -> bytes:
    return b"".join(struct.pack("<f", number)[2:] for number in numbers)


PACKED = {
    "F32": lambda *numbers: struct.pack(f"<{len(numbers)}f", *numbers),
    "F16": lambda *numbers: struct.pack(f"<{len(numbers)}e", *numbers),
    "BF16": bf16,
}


def found(dtype: str, *tensors: tuple[float, ...]) -> tuple[set[str], list[str]]:
    data, places = b"", {}
    for number, values in enumerate(tensors):
        raw = PACKED[dtype](*values)
        places[str(number)] = Tensor(dtype, (len(values),), len(data), len(data) + len(raw))
        data += raw
    digest = hashlib.sha256()
    findings = scan(io.BytesIO(data), places, [digest])
    assert digest.hexdigest() == hashlib.sha256(data).hexdigest()
    return findings.zero, findings.endless


@pytest.mark.parametrize("dtype", PACKED)
def test_zeros_of_either_sign_and_what_is_no_number_are_found(dtype: str) -> None:
    zero, endless = found(dtype, (0.0, -0.0), (0.0, 1e-4), (1.0, float("nan")), (float("-inf"),), (1.5, -3.0))
    assert (zero, endless) == ({"0"}, ["2", "3"])


@pytest.mark.parametrize("dtype", PACKED)
def test_blocks_end_anywhere(dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "BLOCK_BYTES", 8)
    zero, endless = found(dtype, (0.0,) * 50, (0.0,) * 49 + (2.0,), (1.0,) * 49 + (float("inf"),))
    assert (zero, endless) == ({"0"}, ["2"])


def test_other_types_are_not_judged() -> None:
    findings = scan(io.BytesIO(b"\xff" * 4), {"x": Tensor("I32", (1,), 0, 4)}, [])
    assert (findings.zero, findings.endless) == ({"x"}, [])  # of no float's: it says nothing


@pytest.mark.parametrize(("size", "said"), [(3, "shorter"), (5, "longer")])
def test_file_that_changes_while_it_is_read_is_refused(size: int, said: str) -> None:
    with pytest.raises(BadHeader, match=said):
        scan(io.BytesIO(b"\0" * size), {"x": Tensor("F32", (1,), 0, 4)}, [])
