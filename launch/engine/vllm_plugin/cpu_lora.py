"""What LoRA adds to a layer on a CPU, in place of vLLM's wrapper's methods of these names (0.32).

Rows of the base are left alone; in a batch without any other nothing is computed. Between the two products
a row is rounded to the engine's type, and so is what is added, as vLLM's own kernels on a GPU do it. What
one row gets hangs on no other: slots that share a product get zeros from it, and those change no sum.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from launch.engine.vllm_plugin.packed_weights import Factors, Layer, Layers
from launch.engine.vllm_plugin.products import Product
from launch.engine.vllm_plugin.prompt_rows import slots_of
from launch.engine.vllm_plugin.slot_weights import Stack
from launch.engine.vllm_plugin.step import NOBODY, Group, Rows, Step, in_pieces, step_of

LOGIT_ROWS = 256
"""Rows of logits that are computed at once: a long prompt's are as large as the vocabulary each."""
log = logging.getLogger("vllm.lora_gateway")  # below vLLM's logger, so that it is printed as its lines are


class StepwiseLora:
    """Above vLLM's wrapper: `type(name, (StepwiseLora, wrapper), {"make_product": …})`."""

    make_product: Any
    token_lora_indices: torch.Tensor
    sampler_indices: torch.Tensor

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.lora_layers = Layers(type(self).make_product)
        self.lora_step = NOBODY

    def update_metadata(self, *arguments: Any, **named: Any) -> None:
        """vLLM calls it where rows or slots are others than in the step before."""
        super().update_metadata(*arguments, **named)  # type: ignore[misc]
        self.lora_step = step_of(self.token_lora_indices.tolist())

    def add_lora_linear(
        self,
        y: torch.Tensor,
        x: torch.Tensor,
        lora_a_stacked: Stack,
        lora_b_stacked: Stack,
        scale: float,
        output_slices: tuple[int, ...],
        *,
        buffer: Stack | None = None,
        **kwargs: Any,
    ) -> None:
        if self.lora_step.groups:
            layer = self.lora_layers.of(lora_a_stacked, lora_b_stacked, output_slices)
            add_step(_rows_of(y), _rows_of(x), layer, self.lora_step, scale)

    def add_lora_embedding(
        self,
        y: torch.Tensor,
        x: torch.Tensor,
        lora_b_stacked: torch.Tensor,
        add_inputs: bool = True,
        **kwargs: Any,
    ) -> None:
        if self.lora_step.groups:
            layer = self.lora_layers.of((), (lora_b_stacked,), (lora_b_stacked.shape[-2],))
            for task in tasks_of(layer, self.lora_step, self.lora_step.groups):
                _carry_out(task, _rows_of(y), _rows_of(x), layer.dtype, 1.0)

    def add_lora_logits(
        self,
        y: torch.Tensor,
        x: torch.Tensor,
        lora_a_stacked: torch.Tensor,
        lora_b_stacked: torch.Tensor,
        scale: float,
        *,
        buffer: torch.Tensor | None = None,
        **kwargs: Any,
    ) -> None:
        """Each row by the lm_head of the request that it is of."""
        layer = self.lora_layers.of((lora_a_stacked,), (lora_b_stacked,), (lora_b_stacked.shape[-2],))
        y, x = _rows_of(y), _rows_of(x)
        slots = slots_of(self, len(x))
        if slots is None:
            if any(map(layer.acts, range(len(lora_b_stacked)))):
                log.error("%d rows of logits belong to no known request: no lm_head is applied", len(x))
            return
        step = step_of(slots.tolist())
        for task in tasks_of(layer, step, in_pieces(step, LOGIT_ROWS)):
            _carry_out(task, y, x, layer.dtype, scale)


@dataclass(frozen=True)
class Task:
    """A pair's products for some rows, and room for what they give."""

    rows: Rows
    count: int
    pair: Factors
    mask: torch.Tensor | None
    shrunk: torch.Tensor
    parts: tuple[tuple[Product, torch.Tensor, torch.Tensor], ...]
    """For each second product: its columns of `shrunk`, and what it gives."""
    added: torch.Tensor
    """What all of them give, side by side."""


def add_step(y: torch.Tensor, x: torch.Tensor, layer: Layer, step: Step, scale: float) -> None:
    """y += what each row's adapter adds."""
    tasks: list[Task] | None = step.work.get(layer)
    if tasks is None:
        joint = layer.joint(step.slots) if step.thin and any(map(layer.acts, step.slots)) else None
        if joint is None:
            tasks = tasks_of(layer, step, step.rest)
        else:
            mask = step.mask(joint.slots, joint.ranks, layer.dtype)
            tasks = [_task(layer, step, joint, step.whole, len(step.by_row), mask)]
        tasks += tasks_of(layer, step, step.runs)
        if joint is not None or not step.thin:
            step.work[layer] = tasks
    for task in tasks:
        _carry_out(task, y, x, layer.dtype, scale)


def tasks_of(layer: Layer, step: Step, groups: Sequence[Group]) -> list[Task]:
    """One slot after the other, those left out that add nothing to this layer."""
    return [
        _task(layer, step, layer.single(group.slot), group.rows, group.count)
        for group in groups
        if layer.acts(group.slot)
    ]


def _task(
    layer: Layer, step: Step, pair: Factors, rows: Rows, count: int, mask: torch.Tensor | None = None
) -> Task:
    shrunk = step.scratch("shrunk", count, pair.width, layer.dtype)
    added = step.scratch("added", count, layer.columns, layer.dtype)
    parts = [(pair.expands[0].product, shrunk, added)]
    if len(pair.expands) > 1:
        slices = [one.columns.stop - one.columns.start for one in pair.expands]
        given = [step.scratch(f"added {i}", count, width, layer.dtype) for i, width in enumerate(slices)]
        parts = [
            (one.product, shrunk[:, one.shrunk], to) for one, to in zip(pair.expands, given, strict=True)
        ]
    return Task(rows, count, pair, mask, shrunk, tuple(parts), added)


def _carry_out(task: Task, y: torch.Tensor, x: torch.Tensor, dtype: torch.dtype, scale: float) -> None:
    rows, shrunk, added = task.rows, task.shrunk, task.added
    if isinstance(rows, torch.Tensor):
        x = x.index_select(0, rows)
    elif len(x) != task.count:  # its rows alone; or all, where vLLM has put others behind them
        x = x[rows or slice(task.count)]
    if task.pair.shrink is None:
        shrunk.copy_(x)
    else:
        task.pair.shrink(x if x.dtype == dtype else x.to(dtype), shrunk)
    if task.mask is not None:
        shrunk.mul_(task.mask)
    if scale != 1.0:
        shrunk.mul_(scale)
    for expand, own, given in task.parts:
        expand(own, given)
    if len(task.parts) > 1:
        torch.cat([given for _, _, given in task.parts], 1, out=added)
    if not isinstance(rows, torch.Tensor) and len(y) != task.count:
        y = y[rows or slice(task.count)]
    if y.shape[1] != added.shape[1]:  # the model has padded its output otherwise
        width = min(y.shape[1], added.shape[1])
        y, added = y[:, :width], added[:, :width]
    if added.dtype != y.dtype:
        added = added.to(y.dtype)
    if isinstance(rows, torch.Tensor):
        y.index_add_(0, rows, added)
    else:
        y.add_(added)


def _rows_of(one: torch.Tensor) -> torch.Tensor:
    return one if one.dim() == 2 else one.view(-1, one.shape[-1])
