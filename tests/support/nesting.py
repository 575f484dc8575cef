"""Bodies that nest more deeply than an interpreter goes."""

from __future__ import annotations

import sys

import pytest

UNBOUNDED = pytest.mark.skipif(
    sys.version_info >= (3, 14),
    reason="bounded by the stack's size alone, and what is within is the engine's to refuse",
)
