"""The LoRA kernels for a CPU against sums done by hand."""

from __future__ import annotations

import pytest
import torch

from launch.engine.vllm_plugin import lora_kernels

SLOTS, RANK, SIZE = 3, 2, 4


def weights(*shape: int) -> torch.Tensor:
    """The last slot is not a number: nobody may read it."""
    made = torch.randn(SLOTS, 1, *shape, generator=torch.Generator().manual_seed(len(shape) + shape[0]))
    made[-1] = float("nan")
    return made.to(torch.bfloat16)


def rows(count: int, size: int) -> torch.Tensor:
    return torch.randn(count, size, generator=torch.Generator().manual_seed(count)).to(torch.bfloat16)


def by_hand(inputs: torch.Tensor, weight: torch.Tensor, slots: list[int]) -> torch.Tensor:
    """One row after the other; zero for slot -1."""
    products = [
        weight[slot, 0].float() @ row.float() if slot >= 0 else torch.zeros(weight.shape[2])
        for slot, row in zip(slots, inputs, strict=True)
    ]
    return torch.stack(products)


def sgmv(slots: list[int]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, int, int, int]:
    """vLLM's metadata of a batch: starts, lengths, slots, runs, longest run, rows."""
    found, lengths = torch.unique_consecutive(torch.tensor(slots), return_counts=True)
    starts = torch.cumsum(lengths, 0) - lengths
    return starts, lengths, found, len(found), int(lengths.max()), len(slots)


BATCHES = [[0], [-1], [-1, -1], [0, 1], [0, 0, -1, 1, 1, -1, 0], [-1, 0, 0, 0]]


@pytest.mark.parametrize("slots", BATCHES, ids=str)
def test_shrink_is_zero_for_the_base_and_each_adapters_own_for_the_rest(slots: list[int]) -> None:
    inputs, weight = rows(len(slots), SIZE), weights(RANK, SIZE)
    expected = 0.5 * by_hand(inputs, weight, slots)
    for run in range(2):
        output = torch.full((len(slots), RANK), 9.0)
        if run:
            lora_kernels.sgmv_shrink(inputs, weight, output, *sgmv(slots), 0.5)
        else:
            lora_kernels.bgmv_shrink(inputs, weight, output, torch.tensor(slots), 0.5)
        torch.testing.assert_close(output, expected)


@pytest.mark.parametrize("slots", BATCHES, ids=str)
def test_expand_adds_nothing_to_the_bases_rows(slots: list[int]) -> None:
    inputs, weight = rows(len(slots), RANK), weights(SIZE, RANK)
    before = torch.arange(len(slots) * SIZE, dtype=torch.float32).view(len(slots), SIZE)
    expected = before + by_hand(inputs, weight, slots)
    kernels = lora_kernels
    output = before.clone()
    kernels.sgmv_expand(inputs, weight, output, *sgmv(slots), True)
    torch.testing.assert_close(output, expected)
    output = before.clone()
    kernels.bgmv_expand(inputs, weight, output, torch.tensor(slots), True)
    torch.testing.assert_close(output, expected)


@pytest.mark.parametrize("slots", BATCHES, ids=str)
def test_expand_without_adding_replaces_the_adapters_rows_alone(slots: list[int]) -> None:
    inputs, weight = rows(len(slots), RANK), weights(SIZE, RANK)
    output = torch.full((len(slots), SIZE), 7.0)
    lora_kernels.sgmv_expand(inputs, weight, output, *sgmv(slots), False)
    expected = by_hand(inputs, weight, slots)
    expected[torch.tensor(slots) < 0] = 7.0
    torch.testing.assert_close(output, expected)


def test_slice_is_written_where_it_belongs_and_nowhere_else() -> None:
    slots = [1, -1, 0]
    inputs, weight = rows(3, RANK), weights(SIZE, RANK)
    expected = torch.zeros(3, SIZE + 5)
    expected[:, 2 : 2 + SIZE] = by_hand(inputs, weight, slots)
    output = torch.zeros(3, SIZE + 5)
    lora_kernels.sgmv_expand_slice(inputs, weight, output, *sgmv(slots), 2, SIZE, True)
    torch.testing.assert_close(output, expected)
    output = torch.zeros(3, SIZE + 5)
    lora_kernels.bgmv_expand_slice(inputs, weight, output, torch.tensor(slots), 2, SIZE, True)
    torch.testing.assert_close(output, expected)


def test_narrower_output_takes_what_fits_and_rows_past_the_batch_stay() -> None:
    inputs, weight = rows(1, RANK), weights(SIZE, RANK)
    output = torch.zeros(2, SIZE - 1)
    lora_kernels.bgmv_expand(inputs, weight, output, torch.tensor([0]), True)
    torch.testing.assert_close(output[:1], by_hand(inputs, weight, [0])[:, : SIZE - 1])
    assert not output[1].any()


def test_bfloat16_output_is_rounded_once() -> None:
    inputs, weight = rows(2, RANK).float(), weights(SIZE, RANK)
    output = torch.ones(2, SIZE, dtype=torch.bfloat16)
    lora_kernels.sgmv_expand(inputs, weight, output, *sgmv([0, -1]), True)
    assert torch.equal(output[0], (1 + by_hand(inputs, weight, [0, -1])[0]).to(torch.bfloat16))
    assert torch.equal(output[1], torch.ones(SIZE, dtype=torch.bfloat16))


def test_weights_without_the_extra_axis() -> None:
    inputs, weight = rows(2, SIZE), weights(RANK, SIZE)
    output = torch.empty(2, RANK)
    lora_kernels.bgmv_shrink(inputs, weight.squeeze(1), output, torch.tensor([1, -1]))
    torch.testing.assert_close(output, by_hand(inputs, weight, [1, -1]))
