"""A layer's LoRA weights as its products want them, made at their first use and again when they change.

vLLM writes an adapter into a slot in place: torch counts each such write in the tensor's version, in
inference mode too, for a tensor that was not made there. One that was has no count, and is never kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from operator import is_

import torch

from launch.engine.vllm_plugin.products import MakeProduct, Product, product_type

PATIENCE = 4
"""Steps in a row that want the same slots in one product before they get one: to make it costs about as
much as it saves in so many."""

Stack = tuple[torch.Tensor, ...]
"""For each slice of a layer's output all slots' weights, (slots, 1, out, in) or (slots, out, in)."""


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


class Layer:
    """One layer's weights, as they are while `is_current`."""

    def __init__(self, a: Stack, b: Stack, sizes: Sequence[int], make: MakeProduct) -> None:
        """`a` may be empty; `sizes`: the columns of the output that each slice has."""
        self.dtype = product_type(b[0].dtype)
        self.columns = sum(sizes)
        self._a, self._b, self._sizes, self._make = a, b, tuple(sizes), make
        self._weights = (*a, *b)
        self._versions = _versions(self._weights)
        self.acting = frozenset(slot for slot in range(len(b[0])) if _acts(a, b, slot))
        """Slots that add anything: an adapter may leave a layer as it is, and an empty slot holds zeros."""
        self._finite = all(bool(torch.isfinite(one).all()) for one in self._weights)
        self._single: dict[int, Factors] = {}
        self._joint: Factors | None = None
        self._wanted: tuple[int, ...] = ()
        self._asked = 0

    def is_current(self, a: Stack, b: Stack) -> bool:
        """Whether these are its weights and nobody has written to them since."""
        if self._versions is None or not (_same(a, self._a) and _same(b, self._b)):
            return False
        return [one._version for one in self._weights] == self._versions

    def single(self, slot: int) -> Factors:
        if (known := self._single.get(slot)) is None:
            known = self._single[slot] = self._pair((slot,))
        return known

    def joint(self, slots: tuple[int, ...]) -> Factors | None:
        """A pair for `slots` and not twice as many; None while there is none.

        There never is while a weight is infinite or no number, since zero times that is none either.
        """
        held = self._joint
        if held is not None and len(held.slots) <= 2 * len(slots) and set(slots) <= set(held.slots):
            return held
        if not self._finite:
            return None
        self._asked = self._asked + 1 if slots == self._wanted else 1
        self._wanted = slots
        if self._asked < PATIENCE:
            return None
        self._joint = self._pair(slots)
        return self._joint

    def _pair(self, slots: tuple[int, ...]) -> Factors:
        """A of all slices and slots side by side; of one slot B as blocks of a diagonal.

        Of several slots each slice's B is by itself: so many zeros would cost more than another product.
        """
        ranks = tuple(_of(one, 0).shape[1] for one in self._b)
        width = sum(ranks) * len(slots)
        expands: list[Expand] = []
        blocks = torch.zeros(width, self.columns, dtype=self.dtype)
        row, column = 0, 0
        for one, size, rank in zip(self._b, self._sizes, ranks, strict=True):
            first = row
            for slot in slots:
                weight = _of(one, slot)[:size]
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
            joined = torch.cat([_of(one, slot) for one in self._a for slot in slots])
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
            known = self._known[key] = Layer(a, b, sizes, self._make)
        return known


def _same(given: Stack, own: Stack) -> bool:
    return given is own or (len(given) == len(own) and all(map(is_, given, own)))


def _versions(weights: Stack) -> list[int] | None:
    if any(one.is_inference() for one in weights):
        return None
    return [one._version for one in weights]


def _acts(a: Stack, b: Stack, slot: int) -> bool:
    pairs = zip(a, b, strict=True) if a else ((one, one) for one in b)
    return any(bool(_of(one, slot).any()) and bool(_of(other, slot).any()) for one, other in pairs)


def _of(stacked: torch.Tensor, slot: int) -> torch.Tensor:
    weight = stacked[slot]
    return weight.squeeze(0) if weight.dim() == 3 else weight
