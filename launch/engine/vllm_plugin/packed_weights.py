"""A layer's LoRA weights as its products want them, made at their first use and again when they change.

vLLM writes an adapter into a slot in place: torch counts each such write in the tensor's version, in
inference mode too, for a tensor that was not made there. One that was has no count, and is never kept. The
count is all slots' together, so that the others are compared with copies of what they were: to lay a slot out
takes some ten times as long.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from operator import is_

import torch

from launch.engine.vllm_plugin.products import MakeProduct, Product, product_type
from launch.engine.vllm_plugin.slot_weights import SlotWeights, Stack, of_slot

PATIENCE = 4
"""Steps in a row that want the same slots in one product before they get one: to make it costs about as
much as it saves in so many."""


@dataclass(frozen=True)
class Expand:
    """The second product, or that of one slice of the output."""

    product: Product
    shrunk: slice
    columns: slice


@dataclass(frozen=True)
class Factors:
    """The two products of some slots side by side; without a `shrink` where the input is shrunk already."""

    slots: tuple[int, ...]
    ranks: tuple[int, ...]
    """Of each slice."""
    shrink: Product | None
    expands: tuple[Expand, ...]
    width: int
    """Columns between the two: slice by slice, in each slot by slot."""


@dataclass
class Slot:
    """One slot, looked at, and its own products once they were asked for."""

    weights: SlotWeights
    pair: Factors | None = None


@dataclass(frozen=True)
class Shared:
    """Products that several slots share, and what these were when they were made."""

    pair: Factors
    slots: tuple[Slot, ...]


class Layer:
    """One layer's weights, as they are while `is_current`."""

    def __init__(
        self, a: Stack, b: Stack, sizes: Sequence[int], make: MakeProduct, before: Layer | None = None
    ) -> None:
        """`a` may be empty; `sizes`: the columns of the output that each slice has.

        `before`: the same weights as they were earlier, whose products are taken over where a slot is still
        what it was.
        """
        self.dtype = product_type(b[0].dtype)
        self.columns = sum(sizes)
        self._a, self._b, self._sizes, self._make = a, b, tuple(sizes), make
        self._weights = (*a, *b)
        self._versions = _versions(self._weights)
        self._earlier: dict[int, Slot] = {} if before is None else {**before._earlier, **before._slots}
        self._slots: dict[int, Slot] = {}
        self._shared: Shared | None = None if before is None else before._shared
        self._wanted: tuple[int, ...] = ()
        self._asked = 0

    def is_of(self, a: Stack, b: Stack) -> bool:
        """Whether these are its weights, whatever was written to them."""
        return _same(a, self._a) and _same(b, self._b)

    def is_current(self, a: Stack, b: Stack) -> bool:
        """Whether these are its weights and nobody has written to them since."""
        if self._versions is None or not self.is_of(a, b):
            return False
        return [one._version for one in self._weights] == self._versions

    def acts(self, slot: int) -> bool:
        """Whether the slot's weights add anything to a row; one that is empty or all zeros does not."""
        return self._slot(slot).weights.acts

    def single(self, slot: int) -> Factors:
        known = self._slot(slot)
        if known.pair is None:
            known.pair = self._pair((slot,))
        return known.pair

    def joint(self, slots: tuple[int, ...]) -> Factors | None:
        """A pair for `slots` and not twice as many; None while there is none.

        There never is while one of their weights is infinite or no number: zero times that is none either.
        """
        held = self._shared
        if held is not None and len(held.slots) <= 2 * len(slots) and set(slots) <= set(held.pair.slots):
            if all(map(is_, map(self._slot, held.pair.slots), held.slots)):
                return held.pair
            self._shared = None
        self._asked = self._asked + 1 if slots == self._wanted else 1
        self._wanted = slots
        if self._asked < PATIENCE:
            return None
        looked = tuple(map(self._slot, slots))
        if not all(one.weights.finite for one in looked):
            return None
        self._shared = Shared(self._pair(slots), looked)
        return self._shared.pair

    def _slot(self, slot: int) -> Slot:
        known = self._slots.get(slot)
        if known is None:
            known = self._earlier.pop(slot, None)
            if known is None or not known.weights.are_still(self._a, self._b, slot):
                known = Slot(SlotWeights.of(self._a, self._b, slot))
            self._slots[slot] = known
        return known

    def _pair(self, slots: tuple[int, ...]) -> Factors:
        """A of all slices and slots side by side; of one slot B as blocks of a diagonal.

        Of several slots each slice's B is by itself: so many zeros would cost more than another product.
        """
        ranks = tuple(of_slot(one, 0).shape[1] for one in self._b)
        width = sum(ranks) * len(slots)
        expands: list[Expand] = []
        blocks = torch.zeros(width, self.columns, dtype=self.dtype)
        row, column = 0, 0
        for one, size, rank in zip(self._b, self._sizes, ranks, strict=True):
            first = row
            for slot in slots:
                weight = of_slot(one, slot)[:size]
                blocks[row : row + rank, column : column + len(weight)] = weight.t()
                row += rank
            hidden, columns = slice(first, row), slice(column, column + size)
            column += size
            if len(slots) > 1:
                expands.append(Expand(self._make(blocks[hidden, columns].contiguous()), hidden, columns))
        if len(slots) == 1:
            expands.append(Expand(self._make(blocks), slice(0, width), slice(0, self.columns)))
        shrink = None
        if self._a:
            joined = torch.cat([of_slot(one, slot) for one in self._a for slot in slots])
            shrink = self._make(joined.to(self.dtype).t())
        return Factors(slots, ranks, shrink, tuple(expands), width)


class Layers:
    """Every layer of an engine, by its weights."""

    def __init__(self, make: MakeProduct) -> None:
        self._make = make
        self._known: dict[int, Layer] = {}

    def of(self, a: Stack, b: Stack, sizes: Sequence[int]) -> Layer:
        """The layer with these weights, as they are now."""
        key = id(b[0])  # a layer holds its tensors, so no other has this id while it is known
        known = self._known.get(key)
        if known is None or not known.is_current(a, b):
            before = known if known is not None and known.is_of(a, b) else None
            known = self._known[key] = Layer(a, b, sizes, self._make, before)
        return known


def _same(given: Stack, own: Stack) -> bool:
    return given is own or (len(given) == len(own) and all(map(is_, given, own)))


def _versions(weights: Stack) -> list[int] | None:
    if any(one.is_inference() for one in weights):
        return None
    return [one._version for one in weights]
