"""What a body takes of the bytes that all may have: nothing while it is small, and given back at the end."""

from __future__ import annotations

import pytest

from gateway.admission.body_lease import FREE_BELOW_BYTES, BodyLease
from gateway.admission.byte_budget import ByteBudget
from gateway.errors import Unavailable

pytestmark = pytest.mark.anyio
LARGE = FREE_BELOW_BYTES * 4


async def test_a_large_body_is_counted_until_its_request_ends() -> None:
    bodies = ByteBudget(LARGE)
    lease = BodyLease(bodies, "a", 30)
    await lease.take(LARGE)
    assert bodies.held_bytes == LARGE
    lease.settle(LARGE // 2)
    assert bodies.held_bytes == LARGE // 2
    lease.settle(LARGE)
    lease.end()
    lease.end()
    assert bodies.held_bytes == 0


async def test_a_small_body_takes_nothing() -> None:
    bodies = ByteBudget(LARGE)
    lease = BodyLease(bodies, "a", 30)
    await lease.take(FREE_BELOW_BYTES - 1)
    assert bodies.held_bytes == 0
    lease.end()
    assert bodies.held_bytes == 0


async def test_who_waits_too_long_is_told_why_and_when_to_come_back() -> None:
    bodies = ByteBudget(LARGE)
    assert bodies.try_take(LARGE)
    lease = BodyLease(bodies, "a", 0)
    with pytest.raises(Unavailable, match=r"gateway\.max_held_body_bytes") as refused:
        await lease.take(LARGE)
    assert (refused.value.code, refused.value.retry_after_s) == ("overloaded", 5)
    lease.end()
    assert bodies.held_bytes == LARGE
