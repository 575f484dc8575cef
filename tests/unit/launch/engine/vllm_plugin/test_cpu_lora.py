"""What an adapter adds to its rows, against sums in float64, and to no others."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import pytest
import torch

from launch.engine.vllm_plugin import cpu_lora
from launch.engine.vllm_plugin.cpu_lora import StepwiseLora
from launch.engine.vllm_plugin.packed_weights import PATIENCE
from launch.engine.vllm_plugin.products import MakeProduct, Plain
from launch.engine.vllm_plugin.step import Step, step_of
from tests.unit.launch.engine.vllm_plugin.conftest import prepacked

SLOTS = 5
TYPES = (torch.float32, torch.bfloat16)


class Indices:
    """vLLM's wrapper, as far as its metadata goes."""

    def __init__(self) -> None:
        self.token_lora_indices = self.sampler_indices = torch.empty(0, dtype=torch.long)

    def update_metadata(self, slots: Sequence[int]) -> None:
        self.token_lora_indices = torch.tensor(slots, dtype=torch.long)


def wrapper_of(make: MakeProduct) -> Any:
    return type("Wrapper", (StepwiseLora, Indices), {"make_product": staticmethod(make)})()


class Case:
    """One layer with weights in each slot."""

    def __init__(self, seed: int, dtype: torch.dtype) -> None:
        chosen, self.source = random.Random(seed), torch.Generator().manual_seed(seed)
        self.rank, self.inputs = chosen.choice((1, 4, 8, 16, 64)), chosen.choice((8, 33, 96))
        self.sizes = tuple(chosen.choice((8, 24, 40)) for _ in range(chosen.choice((1, 2, 3))))
        self.dtype = dtype
        self.a = tuple(self.random(SLOTS, 1, self.rank, self.inputs) for _ in self.sizes)
        self.b = tuple(self.random(SLOTS, 1, size, self.rank) for size in self.sizes)

    def random(self, *shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=self.source).to(self.dtype)

    def check(self, wrapper: Any, slots: Sequence[int], visits: int = 1, scale: float = 1.0) -> None:
        """Each row within what rounding allows, those of the base to the digit."""
        x, before = self.random(len(slots), self.inputs), self.random(len(slots), sum(self.sizes))
        wrapper.update_metadata(slots)
        unchanged = torch.zeros(before.shape[1], dtype=torch.float64)
        sums = [
            self.by_hand(x[row], before[row], slot, scale) if slot >= 0 else (before[row].double(), unchanged)
            for row, slot in enumerate(slots)
        ]
        for _ in range(visits):
            wrapper.add_lora_linear(y := before.clone(), x, self.a, self.b, scale, self.sizes)
            for row, (expected, allowed) in enumerate(sums):
                assert ((y[row].double() - expected).abs() <= allowed).all(), (row, slots[row])

    def by_hand(
        self, x: torch.Tensor, before: torch.Tensor, slot: int, scale: float
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The sum, and by how much it may differ: three roundings, and what float32 adds up."""
        half_step = 2.0 ** (-8 if self.dtype == torch.bfloat16 else -24)
        parts, errors = [], []
        for a, b in zip(self.a, self.b, strict=True):
            left, right = a[slot, 0].double(), b[slot, 0].double()
            shrunk = scale * (left @ x.double())
            sums = left.abs() @ x.double().abs() * abs(scale) * self.inputs * 2.0**-23
            parts.append(right @ shrunk)
            errors.append(right.abs() @ (shrunk.abs() * (half_step * 2 + self.rank * 2.0**-23) + sums))
        added, error = torch.cat(parts), torch.cat(errors)
        expected = before.double() + added
        return expected, (error + half_step * (added.abs() + error + expected.abs())) * 1.01 + 1e-9


BATCHES = (
    [0],
    [3, 3],
    [-1, 2, -1],
    [4, 0, 1, 2, 3],
    [0, -1, 1, -1, 0, 1],
    [-1, -1, *[1] * 9, -1],
    [2] * 7 + [-1] * 3 + [0] * 20,
    [0, 1, 4] * 11 + [-1],
    [1, -1] * 20,
    [0, 1, 2, 3, 0, 1, -1, *[0] * 30],
    [*[1] * 15, 0, 2, *[1] * 13, -1, 3],
)


@pytest.mark.parametrize("dtype", TYPES, ids=str)
@pytest.mark.parametrize("seed", range(4))
def test_every_row_gets_its_own_adapters_sum(seed: int, dtype: torch.dtype, make: MakeProduct) -> None:
    case, wrapper = Case(seed, dtype), wrapper_of(make)
    for slots in BATCHES:
        case.check(wrapper, slots, visits=PATIENCE + 1)
        case.check(wrapper, slots, scale=0.5)


@pytest.mark.parametrize("dtype", TYPES, ids=str)
def test_a_row_is_the_same_to_the_digit_whoever_is_beside_it(dtype: torch.dtype) -> None:
    case, wrapper = Case(1, dtype), wrapper_of(prepacked())
    case.inputs, case.rank, case.sizes = 576, 16, (96, 32, 32)
    case.a = tuple(case.random(SLOTS, 1, 16, 576) for _ in case.sizes)
    case.b = tuple(case.random(SLOTS, 1, size, 16) for size in case.sizes)
    row = case.random(1, 576)
    answers = []
    for slots in ([2, 2], [2, 1, 0, -1], [-1, 2, 2], [2] * 70, [2, *[0] * 40, *[1] * 9], [2, 0, 1, 3, 4]):
        wrapper.update_metadata(slots)
        for _ in range(PATIENCE + 1):
            x = case.random(len(slots), 576)
            mine = slots.index(2)
            x[mine] = row[0]
            wrapper.add_lora_linear(
                y := torch.zeros(len(slots), 160, dtype=dtype), x, case.a, case.b, 1.0, case.sizes
            )
            answers.append(y[mine])
    assert all(torch.equal(one, answers[0]) for one in answers)


@pytest.mark.parametrize("dtype", TYPES, ids=str)
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_weights_that_are_no_number_stay_in_their_own_rows(bad: float, dtype: torch.dtype) -> None:
    case, wrapper = Case(2, dtype), wrapper_of(Plain)
    case.b[0][1] = bad
    x, before = case.random(4, case.inputs), case.random(4, sum(case.sizes))
    wrapper.update_metadata([0, 1, -1, 2])
    for _ in range(PATIENCE + 1):
        wrapper.add_lora_linear(y := before.clone(), x, case.a, case.b, 1.0, case.sizes)
    assert not y[1].isfinite().all()
    assert y[[0, 2, 3]].isfinite().all()


def test_a_batch_of_the_base_multiplies_nothing() -> None:
    case, wrapper = Case(0, torch.float32), wrapper_of(pytest.fail)
    case.check(wrapper, [-1, -1, -1])
    case.check(wrapper, [])


def test_only_slots_that_are_asked_for_are_made_ready() -> None:
    made: list[torch.Tensor] = []

    def noted(weight: torch.Tensor) -> Plain:
        made.append(weight)
        return Plain(weight)

    case, wrapper = Case(0, torch.float32), wrapper_of(noted)
    case.check(wrapper, [1, -1, 1], visits=9)
    assert len(made) == 2


def test_an_adapter_that_leaves_a_layer_as_it_is_costs_no_product_there() -> None:
    case, wrapper = Case(3, torch.float32), wrapper_of(pytest.fail)
    for one in case.b:
        one[2] = 0
    case.check(wrapper, [2, -1, 2], visits=2)


@pytest.mark.parametrize("slots", [[1, 1], [0, 1, 2], [1, 0, -1, 1]], ids=str)
def test_another_adapter_in_a_slot_acts_at_once(slots: list[int]) -> None:
    """In the middle of a batch's steps: vLLM need not look through it again for that."""
    case, wrapper = Case(4, torch.float32), wrapper_of(Plain)
    wrapper.update_metadata(slots)
    x = case.random(len(slots), case.inputs)
    with torch.inference_mode():
        for _ in range(2):
            for _ in range(PATIENCE + 1):
                wrapper.add_lora_linear(
                    y := torch.zeros(len(slots), sum(case.sizes)), x, case.a, case.b, 1.0, case.sizes
                )
            for row, slot in enumerate(slots):
                expected, allowed = (
                    case.by_hand(x[row], torch.zeros(()), slot, 1.0) if slot >= 0 else (y[row] * 0, 1e-9)
                )
                assert ((y[row] - expected).abs() <= allowed).all()
            for one in (*case.a, *case.b):
                one[1].copy_(one[3])


def test_rows_that_vllm_has_put_behind_the_batch_stay_as_they_are() -> None:
    case, wrapper = Case(5, torch.float32), wrapper_of(Plain)
    for slots in ([1, 1], [1, -1], [0, 1]):
        wrapper.update_metadata(slots)
        for _ in range(PATIENCE + 1):
            y = torch.zeros(4, sum(case.sizes))
            wrapper.add_lora_linear(y, case.random(4, case.inputs), case.a, case.b, 1.0, case.sizes)
            assert y[0].any()
            assert not y[2:].any()


@pytest.mark.parametrize("difference", [-3, 3])
def test_an_output_that_the_model_has_padded_otherwise(difference: int) -> None:
    case, wrapper = Case(5, torch.float32), wrapper_of(Plain)
    width = sum(case.sizes)
    for slots in ([1, 1], [1, -1, 1]):
        wrapper.update_metadata(slots)
        x = case.random(len(slots), case.inputs)
        wrapper.add_lora_linear(full := torch.zeros(len(slots), width), x, case.a, case.b, 1.0, case.sizes)
        other = torch.zeros(len(slots), width + difference)
        wrapper.add_lora_linear(other, x, case.a, case.b, 1.0, case.sizes)
        shared = min(width, width + difference)
        assert torch.equal(other[:, :shared], full[:, :shared])
        assert not other[:, width:].any()


@pytest.mark.parametrize("dtype", TYPES, ids=str)
def test_embedding_adds_what_is_shrunk_already(dtype: torch.dtype, make: MakeProduct) -> None:
    source = torch.Generator().manual_seed(7)
    b = torch.randn(SLOTS, 1, 24, 8, generator=source).to(dtype)
    wrapper = wrapper_of(make)
    for slots in BATCHES:
        wrapper.update_metadata(slots)
        x, y = (
            torch.randn(len(slots), 8, generator=source).to(dtype),
            torch.zeros(len(slots), 24, dtype=dtype),
        )
        wrapper.add_lora_embedding(y, x, b, add_input=True)
        sums = [b[slot, 0].double() @ x[row].double() for row, slot in enumerate(slots) if slot >= 0]
        acting = y[[row for row, slot in enumerate(slots) if slot >= 0]].double()
        torch.testing.assert_close(acting, torch.stack(sums), rtol=2.0**-7, atol=1e-5)
        assert not y[[row for row, slot in enumerate(slots) if slot < 0]].any()


def test_a_batch_is_looked_through_once_for_all_layers(monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[Sequence[int]] = []

    def noted(slots: Sequence[int]) -> Step:
        looked.append(slots)
        return step_of(slots)

    monkeypatch.setattr(cpu_lora, "step_of", noted)
    wrapper = wrapper_of(Plain)
    wrapper.update_metadata([0, 1])
    for seed in range(3):
        case = Case(seed, torch.float32)
        y = torch.zeros(2, sum(case.sizes))
        wrapper.add_lora_linear(y, case.random(2, case.inputs), case.a, case.b, 1.0, case.sizes)
    assert looked == [[0, 1]]
