"""Bytes that all requests share: bounded, given back however a request ends, and waited for in order."""

from __future__ import annotations

import asyncio

import pytest

from gateway.admission.byte_budget import ByteBudget
from tests.support.waiting import turns

pytestmark = pytest.mark.anyio


def test_what_does_not_fit_is_not_taken_and_what_is_alone_always_fits() -> None:
    budget = ByteBudget(10)
    assert budget.try_take(25)
    assert not budget.try_take(1)
    budget.give_back(25)
    assert budget.try_take(6)
    assert not budget.try_take(5)
    assert budget.try_take(4)
    assert budget.held_bytes == 10


async def test_who_waits_is_let_in_in_order() -> None:
    budget = ByteBudget(10)
    assert budget.try_take(10)
    large, small = (asyncio.ensure_future(budget.take(size)) for size in (8, 1))
    await turns(5)
    assert (len(budget._waiting), large.done(), small.done()) == (2, False, False)
    budget.give_back(3)
    assert not budget.try_take(1), "it would pass those who wait"
    budget.give_back(7)
    await turns(5)
    assert (large.done(), small.done(), budget.held_bytes) == (True, True, 9)


async def test_who_leaves_or_waits_too_long_takes_nothing() -> None:
    budget = ByteBudget(10)
    assert budget.try_take(10)
    with pytest.raises(TimeoutError):
        await budget.take(5, 0)
    leaving, staying = (asyncio.ensure_future(budget.take(size)) for size in (9, 2))
    await turns(5)
    budget.give_back(4)
    leaving.cancel()
    await turns(5)
    assert (staying.done(), budget.held_bytes, len(budget._waiting)) == (True, 8, 0)


async def test_one_that_is_let_in_and_leaves_at_once_gives_it_back() -> None:
    budget = ByteBudget(10)
    assert budget.try_take(10)
    waiting = asyncio.ensure_future(budget.take(5))
    await turns(5)
    budget.give_back(10)
    waiting.cancel()
    await turns(5)
    assert (budget.held_bytes, len(budget._waiting)) == (0, 0)


async def test_of_several_owners_none_takes_more_than_half_and_none_is_held_up_by_it() -> None:
    several = True
    budget = ByteBudget(10, lambda: several)
    assert budget.try_take(5, "a")
    assert not budget.try_take(1, "a")
    waiting = asyncio.ensure_future(budget.take(3, None, "a"))
    await turns(5)
    other = asyncio.ensure_future(budget.take(5, None, "b"))
    await turns(5)
    assert (waiting.done(), other.done(), budget.held_bytes) == (False, True, 10)
    budget.give_back(5, "a")
    await turns(5)
    assert (waiting.done(), budget.held_bytes) == (True, 8)
    several = False
    assert budget.try_take(2, "a")
