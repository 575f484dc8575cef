"""x @ weight for a weight that stays: laid out once as the processor's kernels want it.

vLLM's own layers use the same kernels (`onednn_mm`). torch's multiply as fast only from some dozen rows on:
with one they cost 15 us in bfloat16 beside 3. And here a row's product does not depend on how many rows there
are, nor on columns of zeros beside it, which torch's do in float32 with less than four rows.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Protocol

import torch

from launch.machine.hardware import has_slow_bfloat16

PRIMITIVES = 32
"""Numbers of rows whose kernel a weight keeps, as many as vLLM has for its own layers."""


class Product(Protocol):
    """Rows times one weight, which was laid out when the product was made."""

    def __call__(self, inputs: torch.Tensor, output: torch.Tensor) -> None:
        """output = inputs @ weight; both have the weight's type, `inputs` at least one row."""


MakeProduct = Callable[[torch.Tensor], Product]
"""Of a weight (in, out), which may change later: the product keeps what it was."""


class Prepacked:
    """By oneDNN, through vLLM's operators."""

    def __init__(self, weight: torch.Tensor) -> None:
        """Raises RuntimeError where oneDNN has no kernel for it."""
        operators = torch.ops._C
        handle = operators.create_onednn_mm_handler(weight, PRIMITIVES)
        weakref.finalize(self, operators.release_dnnl_matmul_handler, handle).atexit = False
        self._multiply = operators.onednn_mm
        self._handle = torch.tensor(handle, dtype=torch.int64)

    def __call__(self, inputs: torch.Tensor, output: torch.Tensor) -> None:
        self._multiply(output, inputs, None, self._handle)


class Plain:
    """By torch, on a copy of the weight."""

    def __init__(self, weight: torch.Tensor) -> None:
        self._weight = weight.clone()

    def __call__(self, inputs: torch.Tensor, output: torch.Tensor) -> None:
        torch.mm(inputs, self._weight, out=output)


def best_product() -> MakeProduct:
    """What this process has: vLLM's operators where they are loaded, else torch."""
    return Prepacked if hasattr(torch.ops._C, "create_onednn_mm_handler") else Plain


def product_type(weights: torch.dtype) -> torch.dtype:
    """What weights of that type are multiplied in: bfloat16 where the processor can, else float32."""
    fast = weights == torch.bfloat16 and not has_slow_bfloat16()
    return torch.bfloat16 if fast else torch.float32
