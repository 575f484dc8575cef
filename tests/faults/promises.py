"""What the suite prints at its end: each promise with its load, its fault, what came of it and a figure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

HEADS = ("promise", "load", "fault", "outcome", "figure")
NAME = "promise"
"""Of the property under which a test notes its row."""


def table(rows: Iterable[Sequence[str]]) -> list[str]:
    """Lines with columns as wide as what stands in them."""
    lines = [HEADS, *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(HEADS))]
    shown = [
        "  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    ]
    return [shown[0], "  ".join("-" * width for width in widths), *shown[1:]]


def median_ms(times: Sequence[float]) -> str:
    """Of times in seconds."""
    return f"p50 {sorted(times)[len(times) // 2] * 1000:.0f} ms of {len(times)}" if times else "none"
