"""LoRA's two matrix products apart, in place of vLLM's own (`vllm.lora.ops.torch_ops.lora_ops`, 0.32).

They serve where vLLM needs what lies between the two: in layers whose LoRA is split over processes.
Everything else goes through `cpu_lora`. vLLM's own index the slots with -1 for a row without an adapter,
which in torch is the last slot: once that slot holds an adapter, the base answers with its weights. They
also copy an adapter's weights for every row. Here rows that follow each other with one slot are multiplied
together, in float32, and rows of slot -1 are left alone. Names, order and meaning of the arguments are
vLLM's:

- weights: (slots, 1, out, in) or (slots, out, in); `inputs`: (rows, in); `output_tensor`: (rows, columns);
- `sgmv_*`: `lora_indices_tensor` has one slot for each run of rows, `seq_len_tensor` the run's length;
- `bgmv_*`: `lora_indices_tensor` has one slot for each row.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby

import torch

Run = tuple[int, int, int]
"""Slot, first row, the row after the last."""


def sgmv_shrink(
    inputs: torch.Tensor,
    lora_a_weights: torch.Tensor,
    output_tensor: torch.Tensor,
    b_seq_start_loc: torch.Tensor,
    seq_len_tensor: torch.Tensor,
    lora_indices_tensor: torch.Tensor,
    batches: int,
    max_seq_length: int,
    token_nums: int,
    scaling: float,
) -> None:
    runs = runs_of(zip(lora_indices_tensor.tolist(), seq_len_tensor.tolist(), strict=True))
    _shrink(inputs, lora_a_weights, output_tensor, runs, scaling)


def bgmv_shrink(
    inputs: torch.Tensor,
    lora_b_weights: torch.Tensor,
    output_tensor: torch.Tensor,
    lora_indices_tensor: torch.Tensor,
    scaling: float = 1.0,
) -> None:
    _shrink(inputs, lora_b_weights, output_tensor, runs_of_rows(lora_indices_tensor), scaling)


def sgmv_expand(
    inputs: torch.Tensor,
    lora_b_weights: torch.Tensor,
    output_tensor: torch.Tensor,
    b_seq_start_loc: torch.Tensor,
    seq_len_tensor: torch.Tensor,
    lora_indices_tensor: torch.Tensor,
    batches: int,
    max_seq_length: int,
    token_nums: int,
    add_inputs: bool = False,
) -> None:
    runs = runs_of(zip(lora_indices_tensor.tolist(), seq_len_tensor.tolist(), strict=True))
    _expand(inputs, lora_b_weights, output_tensor, runs, add_inputs)


def bgmv_expand(
    inputs: torch.Tensor,
    lora_b_weights: torch.Tensor,
    output_tensor: torch.Tensor,
    lora_indices_tensor: torch.Tensor,
    add_inputs: bool = True,
) -> None:
    _expand(inputs, lora_b_weights, output_tensor, runs_of_rows(lora_indices_tensor), add_inputs)


def sgmv_expand_slice(
    inputs: torch.Tensor,
    lora_b_weights: torch.Tensor,
    output_tensor: torch.Tensor,
    b_seq_start_loc: torch.Tensor,
    seq_len_tensor: torch.Tensor,
    lora_indices_tensor: torch.Tensor,
    batches: int,
    max_seq_length: int,
    token_nums: int,
    slice_offset: int,
    slice_size: int,
    add_inputs: bool = False,
) -> None:
    runs = runs_of(zip(lora_indices_tensor.tolist(), seq_len_tensor.tolist(), strict=True))
    columns = output_tensor[:, slice_offset : slice_offset + slice_size]
    _expand(inputs, lora_b_weights, columns, runs, add_inputs)


def bgmv_expand_slice(
    inputs: torch.Tensor,
    lora_b_weights: torch.Tensor,
    output_tensor: torch.Tensor,
    lora_indices_tensor: torch.Tensor,
    slice_offset: int,
    slice_size: int,
    add_inputs: bool = True,
) -> None:
    columns = output_tensor[:, slice_offset : slice_offset + slice_size]
    _expand(inputs, lora_b_weights, columns, runs_of_rows(lora_indices_tensor), add_inputs)


KERNELS = (sgmv_shrink, bgmv_shrink, sgmv_expand, bgmv_expand, sgmv_expand_slice, bgmv_expand_slice)


def runs_of(slots_and_lengths: Iterable[tuple[int, int]]) -> list[Run]:
    """Each run's slot, first row and the row behind its last; the runs lie one behind the other."""
    runs: list[Run] = []
    start = 0
    for slot, length in slots_and_lengths:
        runs.append((slot, start, start + length))
        start += length
    return runs


def runs_of_rows(slots: torch.Tensor) -> list[Run]:
    """Neighbours of one slot together."""
    return runs_of((slot, len(list(rows))) for slot, rows in groupby(slots.tolist()))


def _shrink(
    inputs: torch.Tensor,
    weights: torch.Tensor,
    output: torch.Tensor,
    runs: Sequence[Run],
    scaling: float,
) -> None:
    """output[row] = scaling * weights[slot] @ inputs[row]; zero for slot -1, as expand reads it."""
    products = _products(inputs, weights, runs)
    if scaling != 1.0:
        products *= scaling
    output[: products.shape[0], : products.shape[1]] = products


def _expand(
    inputs: torch.Tensor, weights: torch.Tensor, output: torch.Tensor, runs: Sequence[Run], add_inputs: bool
) -> None:
    """output[row] += (or =) weights[slot] @ inputs[row]; nothing for slot -1."""
    products = _products(inputs, weights, runs)
    # The model may have padded its output otherwise than the adapter.
    width = min(products.shape[1], output.shape[1])
    if add_inputs:
        output[: products.shape[0], :width] += products[:, :width]
        return
    for slot, start, end in runs:
        if slot >= 0:
            output[start:end, :width] = products[start:end, :width]


def _products(inputs: torch.Tensor, weights: torch.Tensor, runs: Sequence[Run]) -> torch.Tensor:
    """weights[slot] @ inputs[row] in float32, (rows, out); zero for slot -1."""
    if weights.dim() == 4:
        weights = weights.squeeze(1)
    rows = runs[-1][2] if runs else 0
    products = torch.empty((rows, weights.shape[1]), dtype=torch.float32, device=inputs.device)
    # One conversion for a slot that has several runs. float32, since torch multiplies bfloat16 so thin 10 to
    # 20 times slower on a CPU without instructions for it.
    converted: dict[int, torch.Tensor] = {}
    inputs = inputs.to(torch.float32)
    for slot, start, end in runs:
        if slot < 0:
            products[start:end] = 0
            continue
        if slot not in converted:
            converted[slot] = weights[slot].to(torch.float32).t()
        torch.mm(inputs[start:end], converted[slot], out=products[start:end])
    return products
