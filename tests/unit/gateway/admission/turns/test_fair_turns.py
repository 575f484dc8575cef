"""Turns by key: a flood takes nothing from who asks little, by cost and not by number."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections import Counter
from functools import partial
from pathlib import Path

import pytest

from gateway.admission.limits import Admission
from gateway.admission.turns.fair_turns import FAN_OUT_WEIGHT, MOST_IDLE, Claimants
from gateway.admission.turns.pace import MOST_S
from gateway.errors import TooManyRequests, Unavailable
from tests.support.stack import config_of
from tests.support.waiting import turns

pytestmark = pytest.mark.anyio


class House:
    """One place, or several; who has it is written down and gives it on when told."""

    def __init__(self, folder: Path, **bounds: object) -> None:
        self.limits = Admission(config_of(folder, **{"max_in_flight": 1, **bounds}))
        self.order: list[str] = []
        self.tasks: list[str] = []
        self.refused: Counter[str] = Counter()
        self.retry_after_s: set[int] = set()
        self.visits: list[asyncio.Task[None]] = []

    def comes(
        self,
        key: str,
        task: str = "naming",
        cost: float | None = None,
        times: int = 1,
        tenant: str = "",
        let_in: bool = False,
    ) -> None:
        visit = partial(self._visit, key, task, cost, tenant, let_in)
        self.visits += [asyncio.create_task(visit()) for _ in range(times)]

    async def _visit(self, key: str, task: str, cost: float | None, tenant: str, let_in: bool) -> None:
        try:
            gate = await self.limits.enter(task, key=key, tenant=tenant, cost=cost, let_in=let_in)
        except (TooManyRequests, Unavailable) as error:
            self.refused[key] += 1
            self.retry_after_s.add(error.retry_after_s or 0)
            return
        self.order.append(key)
        self.tasks.append(f"{task} of a pipeline" if let_in else task)
        try:
            await asyncio.sleep(0)
        finally:
            self.limits.leave(gate)

    async def through(self) -> None:
        await asyncio.gather(*self.visits)
        assert (self.limits.in_flight, self.limits.waiting) == (0, 0)
        assert all(1 <= each <= MOST_S for each in self.retry_after_s)


async def test_a_light_key_has_the_next_turn_however_many_wait(tmp_path: Path) -> None:
    house = House(tmp_path)
    gate = await house.limits.enter("naming", key="flood")
    house.comes("flood", times=200)
    await turns(5)
    house.comes("light")
    await turns(5)
    house.limits.leave(gate)
    await house.through()
    assert house.order.index("light") <= 1


async def test_a_light_keys_wait_is_the_same_turns_for_each_of_its_requests(tmp_path: Path) -> None:
    """It asks one after the other; between two of its turns there is one of the flood's, never more."""
    house = House(tmp_path)
    gate = await house.limits.enter("naming", key="flood")
    house.comes("flood", times=200)
    await turns(5)

    async def light() -> None:
        for _ in range(40):
            own = await house.limits.enter("naming", key="light")
            house.order.append("light")
            await asyncio.sleep(0)
            house.limits.leave(own)

    asking = asyncio.create_task(light())
    await turns(5)
    house.limits.leave(gate)
    await asking
    places = [index for index, key in enumerate(house.order) if key == "light"]
    assert places[0] <= 1
    assert max(later - earlier for earlier, later in itertools.pairwise(places)) <= 3
    await house.through()


async def test_many_tasks_are_one_keys_turns(tmp_path: Path) -> None:
    house = House(tmp_path)
    gate = await house.limits.enter("base", key="flood")
    for task in ("base", "concept", "naming"):
        house.comes("flood", task, times=20)
    house.comes("light", "naming", times=10)
    await turns(5)
    house.limits.leave(gate)
    await house.through()
    assert Counter(house.order[:20]) == {"flood": 10, "light": 10}


@pytest.mark.parametrize("dear", [2.0, 10.0, 50.0])
async def test_turns_are_by_cost(tmp_path: Path, dear: float) -> None:
    house = House(tmp_path, max_waiting_per_task=2000, max_waiting=2000)
    gate = await house.limits.enter("naming", key="dear")
    house.comes("dear", cost=dear, times=10)
    house.comes("cheap", cost=1.0, times=700)
    await turns(5)
    house.limits.leave(gate)
    await house.through()
    had = {"dear": 0.0, "cheap": 0.0}
    for key in house.order[: house.order.index("dear", house.order.index("dear") + 1) + int(5 * dear)]:
        had[key] += dear if key == "dear" else 1.0
    assert abs(had["dear"] - had["cheap"]) <= dear + 1


async def test_many_keys_of_one_tenant_are_one_tenants_turns(tmp_path: Path) -> None:
    house = House(tmp_path)
    gate = await house.limits.enter("naming", key="first", tenant="acme")
    for number in range(20):
        house.comes(f"acme-{number}", times=3, tenant="acme")
    house.comes("light", times=10, tenant="other")
    await turns(5)
    house.limits.leave(gate)
    await house.through()
    assert Counter(house.order[:20])["light"] == 10
    assert len(set(house.order[:20])) == 11  # and of the tenant's own keys each has had one


async def test_a_keys_tasks_have_as_many_tokens_each(tmp_path: Path) -> None:
    house = House(tmp_path)
    gate = await house.limits.enter("naming", key="own")
    house.comes("own", "concept", cost=100.0, times=10)
    house.comes("own", "naming", cost=10.0, times=100)
    await turns(5)
    house.limits.leave(gate)
    await house.through()
    assert Counter(house.tasks[:55]) == {"concept": 5, "naming": 50}


async def test_a_pipelines_calls_have_half_of_what_their_key_asks_for_by_itself(tmp_path: Path) -> None:
    house = House(tmp_path)
    gate = await house.limits.enter("naming", key="own")
    house.comes("own", times=60, let_in=True)
    house.comes("own", times=20)
    house.comes("other", times=30)
    await turns(5)
    house.limits.leave(gate)
    await house.through()
    assert Counter(house.order[:60]) == {"own": 30, "other": 30}  # between keys both are the same
    own = Counter(task for key, task in zip(house.order, house.tasks, strict=True) if key == "own")
    first = [task for key, task in zip(house.order, house.tasks, strict=True) if key == "own"][:30]
    assert Counter(first) == {"naming": 20, "naming of a pipeline": 20 / FAN_OUT_WEIGHT}
    assert own == {"naming": 20, "naming of a pipeline": 60}


async def test_going_away_sheds_nothing_and_is_owed_nothing() -> None:
    owners = Claimants()
    first, second = owners.joins("first"), owners.joins("second")
    owners.has_had(first, 100)
    owners.leaves(first)
    owners.has_had(second, 1)
    assert owners.joins("first").tag == 100  # it is still ahead by what it has had
    for _ in range(500):
        owners.has_had(second, 1)
    assert owners.joins("third").tag == second.tag - 1  # and a new one begins where the others are


async def test_keys_that_are_gone_are_forgotten() -> None:
    owners = Claimants()
    for number in range(10 * MOST_IDLE):
        owner = owners.joins(str(number))
        owners.has_had(owner, 1)
        owners.leaves(owner)
    assert len(owners._known) <= MOST_IDLE + 1
    assert not owners.are_several


async def test_a_flood_is_refused_before_a_light_key(tmp_path: Path) -> None:
    house = House(tmp_path, max_waiting_per_task=8, max_waiting=12)
    gate = await house.limits.enter("naming", key="flood")
    house.comes("flood", times=300)
    await turns(5)
    assert house.refused["flood"] == 292
    house.comes("light", times=3)
    await turns(5)
    assert house.refused == {"flood": 295}
    assert house.limits.waiting == 8
    house.comes("flood", "base", times=50)  # the gateway's own bound
    await turns(5)
    assert house.limits.waiting == 12
    house.comes("light", "concept")
    await turns(5)
    assert house.refused["light"] == 0
    house.limits.leave(gate)
    await house.through()
    assert Counter(house.order)["light"] == 4


async def test_one_key_alone_has_the_whole_queue(tmp_path: Path) -> None:
    house = House(tmp_path, max_waiting_per_task=8)
    gate = await house.limits.enter("naming")
    house.comes("", times=10)
    await turns(5)
    assert (house.limits.waiting, house.refused[""]) == (8, 2)
    house.limits.leave(gate)
    await house.through()


async def test_what_was_let_in_never_gives_way(tmp_path: Path) -> None:
    house = House(tmp_path, max_waiting_per_task=2)
    gate = await house.limits.enter("naming", key="flood")
    let_in = [asyncio.ensure_future(house.limits.enter("naming", key="flood", let_in=True)) for _ in range(4)]
    await turns(5)
    house.comes("light")
    await turns(5)
    assert house.refused["light"] == 1
    assert not any(one.done() for one in let_in)
    house.limits.leave(gate)
    for one in let_in:
        house.limits.leave(await one)
    await house.through()


@pytest.mark.parametrize("seed", range(10))
async def test_random_floods_leave_nothing_behind(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    house = House(tmp_path, max_in_flight=3, max_waiting_per_task=6, max_waiting=10)
    for _ in range(300):
        key, task = chance.choice("aaaab"), chance.choice(["base", "naming", "concept"])
        house.comes(key, task, cost=chance.choice([None, 1.0, 300.0]))
        if chance.random() < 0.3 and house.visits:
            chance.choice(house.visits).cancel()
        if chance.random() < 0.2:
            await turns(5)
    await asyncio.gather(*house.visits, return_exceptions=True)
    limits = house.limits
    assert (limits.in_flight, limits.waiting, limits._turns.owners.tenants.are_several) == (0, 0, False)
    assert not limits._turns.lanes
    assert not any(limits.gates[task].lanes for task in ("base", "naming", "concept"))
