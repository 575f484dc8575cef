"""What one slot's weights add, and whether they are still what they were."""

from __future__ import annotations

import pytest
import torch

from launch.engine.vllm_plugin.slot_weights import SlotWeights, Stack

SLOTS, RANK, INPUTS, SIZES = 2, 2, 3, (4, 5)
ODD = [float("nan"), float("inf"), float("-inf")]


def stacks() -> tuple[Stack, Stack]:
    a = tuple(torch.ones(SLOTS, 1, RANK, INPUTS) for _ in SIZES)
    return a, tuple(torch.ones(SLOTS, 1, size, RANK) for size in SIZES)


def test_weights_act_where_one_slice_has_both_sides() -> None:
    a, b = stacks()
    assert SlotWeights.of(a, b, 0).acts
    a[0][0], b[1][0] = 0, 0
    assert not SlotWeights.of(a, b, 0).acts
    assert SlotWeights.of(a, b, 1).acts
    a[0][0, 0, 1, 2] = -1e-30
    assert SlotWeights.of(a, b, 0).acts


def test_weights_without_a_act_where_they_are_not_zero() -> None:
    b = torch.zeros(SLOTS, 4, RANK)
    assert not SlotWeights.of((), (b,), 0).acts
    b[0, 1, 1] = 0.5
    assert SlotWeights.of((), (b,), 0).acts


@pytest.mark.parametrize("odd", ODD)
def test_one_weight_that_is_no_number_is_seen_and_acts(odd: float) -> None:
    a, b = stacks()
    b[1][0] = 0
    b[1][0, 0, 2, 1] = odd
    looked = SlotWeights.of(a, b, 0)
    assert (looked.acts, looked.finite) == (True, False)
    assert SlotWeights.of(a, b, 1).finite


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_the_least_change_of_one_weight_is_seen(dtype: torch.dtype) -> None:
    a, b = (tuple(one.to(dtype) for one in side) for side in stacks())
    looked = SlotWeights.of(a, b, 0)
    b[0][1] = 7  # another slot's
    assert looked.are_still(a, b, 0)
    a[1][0, 0, 0, 0] += torch.finfo(dtype).eps
    assert not looked.are_still(a, b, 0)


def test_weights_that_add_nothing_are_looked_at_anew() -> None:
    a, b = stacks()
    b[0][0], b[1][0] = 0, 0
    looked = SlotWeights.of(a, b, 0)
    assert not looked.copies
    assert not looked.are_still(a, b, 0)
