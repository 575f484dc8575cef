"""The histogram's bounds, in their text."""

from __future__ import annotations

import pytest

from gateway.metrics.exposition import Buckets


@pytest.mark.parametrize("bounds", [Buckets().queue_s, Buckets().first_token_s, Buckets().request_s])
def test_bounds_ascend(bounds: tuple[float, ...]) -> None:
    assert list(bounds) == sorted(set(bounds))
