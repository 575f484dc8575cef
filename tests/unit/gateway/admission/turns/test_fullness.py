"""A full queue: what is said, and who gives way."""

from __future__ import annotations

import pytest

from gateway.admission.turns.fair_turns import Shares, Whose, path_of, whose_of
from gateway.admission.turns.fullness import (
    ahead_of,
    gateway_is_full,
    greediest,
    task_is_full,
    who_gives_way,
)
from gateway.admission.turns.pace import Pace
from gateway.admission.turns.queues import Gate, Waiter

pytestmark = pytest.mark.anyio

KEYS = {key: whose_of("", key) for key in "abc"}


async def test_who_gives_way_is_the_newest_of_the_key_with_the_most() -> None:
    gate = Gate("naming", 1, 9)
    lanes = [gate.add(None, Shares().joins(path_of(KEYS[key], "naming"))) for key in "ab"]
    for lane, count in zip(lanes, (3, 2), strict=True):
        lane.queue.extend(Waiter(1, 1.0, False) for _ in range(count))
    assert who_gives_way(lanes, KEYS["c"]) == (lanes[0], lanes[0].queue[-1])
    assert who_gives_way(lanes, KEYS["b"]) is None  # two more, or they would push each other out in turn
    for waiter in lanes[0].queue:
        waiter.let_in = True
    assert who_gives_way(lanes, KEYS["c"]) is None


def test_refusals_say_what_is_full_and_when_to_come_again() -> None:
    gate = Gate("naming", 1, 9)
    gate.pace.begins(0.0)
    gate.pace.lets_in(10.0)
    refused = task_is_full(gate, 3, 10.0)
    assert (refused.status, "'naming' has 3 waiting" in refused.message) == (429, True)
    assert 30 <= (refused.retry_after_s or 0) <= 36
    full = gateway_is_full(5, Pace(), 0.0)
    assert (full.status, full.code, full.retry_after_s) == (503, "overloaded", 1)


def waiting(**tenants: dict[str, int]) -> dict[Whose, int]:
    return {(tenant, key): count for tenant, keys in tenants.items() for key, count in keys.items()}


def test_many_keys_of_one_tenant_are_one_flood() -> None:
    flood = {f"key-{number}": 2 for number in range(50)} | {"largest": 3}
    found = waiting(acme=flood, other={"light": 1})
    assert greediest(found, ("other", "light")) == ("acme", "largest")
    assert greediest(found, ("new", "key")) == ("acme", "largest")
    assert greediest(found, ("acme", "new")) == ("acme", "largest")  # within a tenant, its keys
    assert greediest(found, ("acme", "key-1")) is None
    assert greediest(waiting(acme={"a": 3}, other={"b": 2}), ("other", "b")) is None
    assert greediest({}, ("other", "b")) is None


def test_ahead_are_those_who_have_their_turn_before() -> None:
    found = waiting(acme={"a": 100, "b": 100}, other={"c": 5})
    assert ahead_of(found, ("new", "key")) == 2  # one turn of each tenant
    assert ahead_of(found, ("acme", "new")) == 2 + 3  # one of each key, and as many of the other tenant
    assert ahead_of(found, ("acme", "a")) == 100 + 100 + 5
    assert ahead_of({}, ("new", "key")) == 0
