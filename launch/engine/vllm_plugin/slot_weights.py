"""One slot's weights in one layer: what they add, and whether they are still what they were."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

Stack = tuple[torch.Tensor, ...]
"""For each slice of a layer's output all slots' weights, (slots, 1, out, in) or (slots, out, in)."""


@dataclass(frozen=True)
class SlotWeights:
    """As they were when they were looked at."""

    copies: Stack
    """Of each slice's A, where there is one, then of each one's B; empty where nothing is added."""
    finite: bool

    @classmethod
    def of(cls, a: Stack, b: Stack, slot: int) -> SlotWeights:
        weights = tuple(of_slot(one, slot) for one in (*a, *b))
        bounds = [tuple(map(float, torch.aminmax(one))) for one in weights]
        filled = [bool(least or most) for least, most in bounds]  # no number is neither
        acts = any(map(all, zip(filled, filled[len(a) :], strict=False))) if a else any(filled)
        finite = all(math.isfinite(one) for bound in bounds for one in bound)
        return cls(tuple(one.clone() for one in weights) if acts else (), finite)

    @property
    def acts(self) -> bool:
        """Whether they add anything: an adapter may leave a layer as it is, and an empty slot holds zeros."""
        return bool(self.copies)

    def are_still(self, a: Stack, b: Stack, slot: int) -> bool:
        """Whether they act, and as they did."""
        now = (of_slot(one, slot) for one in (*a, *b))
        return self.acts and all(map(torch.equal, self.copies, now))


def of_slot(stacked: torch.Tensor, slot: int) -> torch.Tensor:
    """Its weights alone, (out, in)."""
    weight = stacked[slot]
    return weight.squeeze(0) if weight.dim() == 3 else weight
