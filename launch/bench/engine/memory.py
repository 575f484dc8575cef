"""How much memory each further adapter takes."""

from __future__ import annotations

from collections.abc import Sequence


def slope(counts: Sequence[int], values: Sequence[float]) -> float:
    """The least-squares line's rise per count. Raises ValueError for fewer than two different counts."""
    mean_count, mean_value = sum(counts) / len(counts), sum(values) / len(values)
    square = sum((count - mean_count) ** 2 for count in counts)
    if not square:
        raise ValueError("a slope needs two different counts")
    pairs = zip(counts, values, strict=True)
    return sum((count - mean_count) * (value - mean_value) for count, value in pairs) / square
