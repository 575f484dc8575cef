"""Work that is written in steps, run through without a pause."""

from __future__ import annotations

from typing import TypeVar

from gateway.pipeline.terms import Steps

T = TypeVar("T")


def at_once(steps: Steps[T]) -> T:
    """What the steps come to."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            found: T = end.value
            return found
