"""A weight that changes in place is never served as it was."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch

from launch.engine.vllm_plugin.packed_weights import PATIENCE, Factors, Layer, Layers
from launch.engine.vllm_plugin.products import Plain

SLOTS, RANK, SIZES, INPUTS = 3, 2, (5, 3), 7


@pytest.fixture(autouse=True, params=[True, False], ids=["inference", "grad"])
def mode(request: pytest.FixtureRequest) -> Iterator[None]:
    """An engine's steps run in inference mode, its loading of weights at a start does not."""
    with torch.inference_mode(mode=request.param):
        yield


class Weights:
    def __init__(self) -> None:
        with torch.inference_mode(mode=False):
            source = torch.Generator().manual_seed(3)
            self.a = tuple(torch.randn(SLOTS, 1, RANK, INPUTS, generator=source) for _ in SIZES)
            self.b = tuple(torch.randn(SLOTS, 1, size, RANK, generator=source) for size in SIZES)
            self.x = torch.randn(4, INPUTS, generator=source)

    def by_hand(self, slot: int) -> torch.Tensor:
        sides = zip(self.a, self.b, strict=True)
        return torch.cat([(self.x @ a[slot, 0].t()) @ b[slot, 0].t() for a, b in sides], 1)


def found(weights: Weights, pair: Factors) -> torch.Tensor:
    shrunk, added = torch.empty(4, pair.width), torch.full((4, sum(SIZES)), float("nan"))
    assert pair.shrink is not None
    pair.shrink(weights.x, shrunk)
    for one in pair.expands:
        part = torch.empty(4, one.columns.stop - one.columns.start)
        one.product(shrunk[:, one.shrunk], part)
        added[:, one.columns] = part
    return added


def settled(layer: Layer, slots: tuple[int, ...]) -> Factors:
    for _ in range(PATIENCE):
        pair = layer.joint(slots)
    assert pair is not None
    return pair


def load(weights: Weights, slot: int) -> None:
    """As vLLM writes an adapter into a slot."""
    for one in (*weights.a, *weights.b):
        one[slot] = 0
    for one in (*weights.a, *weights.b):
        one[slot, 0, :2, :2].copy_(torch.full((2, 2), float(slot + 2)), non_blocking=True)


def unload(weights: Weights, slot: int) -> None:
    for one in (*weights.a, *weights.b):
        one[slot] = 0


def a_single_weight(weights: Weights, slot: int) -> None:
    weights.b[1][slot, 0, 2, 1] += 1


@pytest.mark.parametrize("change", [load, unload, a_single_weight])
def test_what_is_written_into_a_slot_is_what_is_multiplied(change: Callable[[Weights, int], None]) -> None:
    weights, layers = Weights(), Layers(Plain)
    for _ in range(2):
        for slot in range(SLOTS):
            layer = layers.of(weights.a, weights.b, SIZES)
            torch.testing.assert_close(found(weights, layer.single(slot)), weights.by_hand(slot))
            joined = sum(weights.by_hand(one) for one in range(SLOTS))
            torch.testing.assert_close(found(weights, settled(layer, (0, 1, 2))), joined)
            change(weights, slot)


def test_nothing_is_made_twice_while_nothing_changes() -> None:
    weights, layers = Weights(), Layers(Plain)
    layer = layers.of(weights.a, weights.b, SIZES)
    assert layers.of(weights.a, weights.b, SIZES) is layer
    assert layers.of((*weights.a,), (*weights.b,), SIZES) is layer
    assert layer.single(1) is layer.single(1)
    assert settled(layer, (0, 1)) is layer.joint((0, 1))


def test_other_tensors_are_another_layer() -> None:
    layers, first, second = Layers(Plain), Weights(), Weights()
    layer = layers.of(first.a, first.b, SIZES)
    assert layers.of(second.a, second.b, SIZES) is not layer
    assert layers.of(second.a, first.b, SIZES) is not layer


def test_weights_whose_writes_are_not_counted_are_never_kept() -> None:
    layers = Layers(Plain)
    with torch.inference_mode():
        a, b = torch.ones(SLOTS, 1, RANK, INPUTS), torch.ones(SLOTS, 1, 4, RANK)
        layer = layers.of((a,), (b,), (4,))
        assert layers.of((a,), (b,), (4,)) is not layer


def test_a_slot_that_adds_nothing_is_known() -> None:
    weights = Weights()
    unload(weights, 0)
    for one in weights.b:
        one[2] = 0
    layer = Layers(Plain).of(weights.a, weights.b, SIZES)
    assert [layer.acts(slot) for slot in range(SLOTS)] == [False, True, False]


def test_slots_that_nobody_uses_are_left_out_of_a_joint_product() -> None:
    weights = Weights()
    layer = Layers(Plain).of(weights.a, weights.b, SIZES)
    assert layer.joint((0, 2)) is None
    assert settled(layer, (0, 2)).slots == (0, 2)
    assert settled(layer, (0, 1, 2)).slots == (0, 1, 2)
    few = layer.joint((1, 2))  # no more than twice as many
    assert few is not None
    assert few.slots == (0, 1, 2)
    assert settled(layer, (1,)).slots == (1,)


def test_slots_that_take_turns_make_no_joint_product() -> None:
    weights = Weights()
    layer = Layers(Plain).of(weights.a, weights.b, SIZES)
    assert [layer.joint(slots) for _ in range(PATIENCE) for slots in ((0, 1), (1, 2))] == [
        None
    ] * 2 * PATIENCE


def test_weights_that_are_no_number_share_no_product() -> None:
    weights = Weights()
    weights.b[0][2, 0, 0, 0] = float("nan")
    layer = Layers(Plain).of(weights.a, weights.b, SIZES)
    assert [layer.joint((1, 2)) for _ in range(2 * PATIENCE)] == [None] * 2 * PATIENCE
    assert settled(layer, (0, 1)).slots == (0, 1)  # which it does not touch


@pytest.mark.parametrize("change", [load, unload, a_single_weight])
def test_other_slots_are_not_laid_out_again(change: Callable[[Weights, int], None]) -> None:
    weights, layers = Weights(), Layers(Plain)
    before = layers.of(weights.a, weights.b, SIZES)
    kept, changed, shared = before.single(0), before.single(2), settled(before, (0, 1))
    change(weights, 2)
    after = layers.of(weights.a, weights.b, SIZES)
    assert after is not before
    assert after.single(0) is kept
    assert after.joint((0, 1)) is shared
    assert after.single(2) is not changed


def test_products_that_a_changed_slot_shares_are_given_up() -> None:
    weights, layers = Weights(), Layers(Plain)
    settled(layers.of(weights.a, weights.b, SIZES), (0, 1))
    load(weights, 1)
    layer = layers.of(weights.a, weights.b, SIZES)
    assert layer.joint((0, 1)) is None
    joined = weights.by_hand(0) + weights.by_hand(1)
    torch.testing.assert_close(found(weights, settled(layer, (0, 1))), joined)


def test_a_slot_that_changes_twice_before_it_is_used_is_seen() -> None:
    weights, layers = Weights(), Layers(Plain)
    layers.of(weights.a, weights.b, SIZES).single(0)
    for slot in (1, 0, 2):
        load(weights, slot)
        layer = layers.of(weights.a, weights.b, SIZES)
    torch.testing.assert_close(found(weights, layer.single(0)), weights.by_hand(0))


def test_a_slot_that_holds_again_what_it_held_needs_no_new_products() -> None:
    weights, layers = Weights(), Layers(Plain)
    held, pair = weights.b[0][0].clone(), layers.of(weights.a, weights.b, SIZES).single(0)
    weights.b[0][0] = 0
    weights.b[0][0].copy_(held)
    assert layers.of(weights.a, weights.b, SIZES).single(0) is pair
