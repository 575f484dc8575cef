"""Admission: bounds, queues, turns, and that whatever leaves in whatever way leaves nothing behind."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import pytest

from gateway.admission.limits import Admission, share
from gateway.admission.turns.queues import Gate
from gateway.errors import RequestError, TooManyRequests, Unavailable
from gateway.metrics.counters import Metrics
from gateway.metrics.shared_memory import Region
from tests.fakes.fake_engine import Answer
from tests.support.stack import config_of, eventually, stack
from tests.support.waiting import turns

pytestmark = pytest.mark.anyio
TASKS = ("base", "concept", "naming")


def admission(folder: Path, **bounds: object) -> Admission:
    return Admission(config_of(folder, **bounds))


async def test_task_at_its_bound_waits_and_goes_on_when_one_leaves(tmp_path: Path) -> None:
    limits = admission(tmp_path, max_in_flight_per_task=2)
    first, _ = [await limits.enter("naming") for _ in range(2)]
    waiting = asyncio.ensure_future(limits.enter("naming"))
    other = await limits.enter("base")
    await turns(5)
    assert (limits.in_flight, limits.waiting, waiting.done()) == (3, 1, False)
    limits.leave(other)
    await turns(5)
    assert not waiting.done()
    limits.leave(first)
    assert (await waiting).in_flight == 2
    assert (limits.in_flight, limits.waiting) == (2, 0)


async def test_the_wait_that_is_ahead_is_told_while_somebody_waits(tmp_path: Path) -> None:
    now = [100.0]
    limits = Admission(config_of(tmp_path, max_in_flight=1), clock=lambda: now[0])
    assert limits.queue_s == 0
    gate = await limits.enter("naming")
    waiting = [asyncio.ensure_future(limits.enter("naming")) for _ in range(4)]
    await turns(5)
    for _ in range(2):
        now[0] += 3.0
        limits.leave(gate)
        await turns(5)
    assert limits.queue_s == pytest.approx(6.0)  # two more, three seconds each
    for one in waiting:
        one.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    assert limits.queue_s == 0


async def test_full_queue_of_a_task_is_429_and_of_the_gateway_503(tmp_path: Path) -> None:
    limits = admission(tmp_path, max_in_flight=1, max_waiting=2, max_waiting_per_task=1)
    await limits.enter("base")
    waiting = [asyncio.ensure_future(limits.enter(task)) for task in ("base", "naming")]
    await turns(5)
    with pytest.raises(TooManyRequests) as task_full:
        await limits.enter("base")
    with pytest.raises(Unavailable) as gateway_full:
        await limits.enter("concept")
    assert (task_full.value.status, gateway_full.value.status) == (429, 503)
    assert task_full.value.retry_after_s
    assert gateway_full.value.retry_after_s
    assert gateway_full.value.code == "overloaded"
    for each in waiting:
        each.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    assert limits.waiting == 0


async def test_refusals_reach_the_client_with_retry_after(tmp_path: Path) -> None:
    async with stack(tmp_path, max_in_flight=1, max_waiting=2, max_waiting_per_task=1) as s:
        hold = asyncio.Event()
        s.engine.answers["base"] = Answer(hold_head=hold)
        first = asyncio.ensure_future(s.chat(model="base"))
        await s.engine.until(lambda: s.engine.active == 1)
        queued = [asyncio.ensure_future(s.chat(model=task)) for task in ("base", "naming")]
        await eventually(lambda: s.gateway.admission.waiting == 2)
        for task, status, code in (("base", 429, "rate_limit_exceeded"), ("concept", 503, "overloaded")):
            refused = await s.chat(model=task)
            assert (refused.status_code, refused.json()["error"]["code"]) == (status, code)
            assert int(refused.headers["retry-after"]) >= 1
        hold.set()
        assert [(await each).status_code for each in (first, *queued)] == [200, 200, 200]
        await s.at_rest()


async def test_places_go_round_the_tasks(tmp_path: Path) -> None:
    limits = admission(tmp_path, max_in_flight=1)
    gate = await limits.enter("base")
    order: list[str] = []

    async def visit(task: str) -> None:
        own = await limits.enter(task)
        order.append(task)
        limits.leave(own)

    tasks = ["base"] * 4 + ["naming"] * 2 + ["concept"]
    visits = [asyncio.create_task(visit(task)) for task in tasks]
    await turns(5)
    limits.leave(gate)
    await asyncio.gather(*visits)
    assert order == ["base", "naming", "concept", "base", "naming", "base", "base"]


async def test_task_at_its_bound_is_passed_over(tmp_path: Path) -> None:
    limits = admission(tmp_path, max_in_flight=2, max_in_flight_per_task=1)
    gates = {task: await limits.enter(task) for task in ("base", "naming")}
    waiting = [asyncio.ensure_future(limits.enter(task)) for task in ("base", "concept")]
    await turns(5)
    limits.leave(gates["naming"])
    assert (await waiting[1]).task == "concept"
    assert not waiting[0].done()
    limits.leave(gates["base"])
    assert (await waiting[0]).task == "base"


async def test_no_place_in_time_is_503_and_leaves_the_queue(tmp_path: Path) -> None:
    limits = admission(tmp_path, max_in_flight=1, queue_timeout_s=0.02)
    gate = await limits.enter("base")
    with pytest.raises(Unavailable, match="No place came free"):
        await limits.enter("base")
    assert (limits.waiting, limits.in_flight) == (0, 1)
    limits.leave(gate)
    await limits.enter("base")


async def test_cancelled_between_admission_and_waking_gives_its_place_on(tmp_path: Path) -> None:
    limits = admission(tmp_path, max_in_flight=1)
    gate = await limits.enter("base")
    first, second = (asyncio.ensure_future(limits.enter("base")) for _ in range(2))
    await turns(5)
    limits.leave(gate)  # the first has its place now and does not know it yet
    first.cancel()
    assert (await second).task == "base"
    assert first.cancelled()
    assert (limits.in_flight, limits.waiting) == (1, 0)


async def test_cancelled_waiter_is_passed_over_in_the_same_turn(tmp_path: Path) -> None:
    limits = admission(tmp_path, max_in_flight=1)
    gate = await limits.enter("base")
    first, second = (asyncio.ensure_future(limits.enter("base")) for _ in range(2))
    await turns(5)
    first.cancel()
    limits.leave(gate)
    assert (await second).task == "base"
    assert (limits.in_flight, limits.waiting) == (1, 0)


@pytest.mark.parametrize(("bound", "workers"), [(0, 3), (1, 1), (7, 3), (512, 5), (1024, 16), (3, 4)])
def test_shares_add_up_and_differ_by_one_at_most(bound: int, workers: int) -> None:
    shares = [share(bound, worker, workers) for worker in range(workers)]
    assert sum(shares) == bound
    assert max(shares) - min(shares) <= 1


def test_workers_share_every_bound(tmp_path: Path) -> None:
    config = config_of(
        tmp_path, workers=3, max_in_flight=10, max_in_flight_per_task=5, max_waiting=4, max_waiting_per_task=2
    )
    every = [Admission(config, worker) for worker in range(3)]
    taken = 0
    for limits in every:
        while any(limits.try_enter(task) for task in TASKS):
            taken += 1
    assert taken == sum(each.in_flight for each in every) <= 10


class Walk:
    """Random visitors; after every step the bounds hold and nobody waits where there is room."""

    def __init__(self, limits: Admission, most: int, most_of_task: int, seed: int, sequences: int) -> None:
        self.limits = limits
        self.sequences = sequences
        self.most = most
        self.most_of_task = most_of_task
        self.random = random.Random(seed)
        self.held: list[tuple[Gate, int]] = []
        self.tasks: dict[asyncio.Task[None], None] = {}  # in their order, so that a seed is one walk
        self.queued = dict.fromkeys(TASKS, 0)
        self.refused = self.served = self.several = 0

    def count(self, task: str, change: int) -> None:
        self.queued[task] += change

    async def visit(self, task: str) -> None:
        places = self.limits.places(task, self.random.randint(1, self.sequences))
        try:
            self.held.append((await self.limits.enter(task, None, places), places))
            self.served += 1
            self.several += places > 1
        except RequestError:
            self.refused += 1

    async def step(self) -> None:
        choice = self.random.random()
        if choice < 0.5:
            task = asyncio.create_task(self.visit(self.random.choice(TASKS)))
            self.tasks[task] = None
            task.add_done_callback(self.tasks.pop)
        elif choice < 0.8 and self.held:
            self.leave(self.random.randrange(len(self.held)))
        elif self.tasks:
            self.random.choice(list(self.tasks)).cancel()
        if self.random.random() < 0.5:
            await turns(5)
            self.check()

    def leave(self, index: int = -1) -> None:
        gate, places = self.held.pop(index)
        self.limits.leave(gate, None, places)

    def check(self) -> None:
        limits = self.limits
        by_task = {task: limits.gates[task].in_flight for task in TASKS}
        held = sum(places for _, places in self.held)
        assert held <= limits.in_flight == sum(by_task.values()) <= self.most
        assert max(by_task.values()) <= self.most_of_task
        assert limits.waiting == sum(self.queued.values())
        if self.sequences > 1:
            return
        assert held == limits.in_flight
        for task in TASKS:
            if self.queued[task]:
                assert by_task[task] == self.most_of_task or limits.in_flight == self.most


@pytest.mark.parametrize("sequences", [1, 5])
@pytest.mark.parametrize("seed", range(20))
async def test_random_visitors_never_break_a_bound(tmp_path: Path, seed: int, sequences: int) -> None:
    config = config_of(
        tmp_path, max_in_flight=5, max_in_flight_per_task=3, max_waiting=8, max_waiting_per_task=4
    )
    walk: Walk
    limits = Admission(config, 0, lambda task, change: walk.count(task, change))
    walk = Walk(limits, 5, 3, seed, sequences)
    for _ in range(600):
        await walk.step()
    for task in list(walk.tasks):
        task.cancel()
    await asyncio.gather(*walk.tasks, return_exceptions=True)
    while walk.held:
        walk.leave()
    assert (limits.in_flight, limits.waiting) == (0, 0)
    assert not any(walk.queued.values())
    assert walk.served > 50
    assert (walk.several > 20) == (sequences > 1)
    assert walk.refused
    entered = [limits.try_enter(task) for task in ("base", "base", "base", "naming", "naming")]
    assert all(entered)


def test_no_place_beside_the_clients_of_another_worker_who_wait(tmp_path: Path) -> None:
    regions = [Region() for _ in range(2)]
    here, there = Metrics(regions, 0), Metrics(regions, 1)
    limits = Admission(config_of(tmp_path), waited_elsewhere=here.any_wait_elsewhere)
    there.waiting("naming", 2)
    there.waiting("naming", -1)
    assert not limits.try_beside(None)
    there.waiting("naming", -1)
    assert limits.try_beside(None)


async def test_a_request_takes_as_many_places_as_it_has_sequences(tmp_path: Path) -> None:
    limits = admission(tmp_path, max_in_flight=6, max_in_flight_per_task=4)
    assert limits.places("naming", 3) == 3
    gate = await limits.enter("naming", None, 3)
    assert limits.in_flight == gate.in_flight == 3
    assert limits.try_enter("naming", None, 2) is None
    assert limits.try_enter("naming") is gate
    limits.leave(gate, None, 3)
    assert limits.in_flight == gate.in_flight == 1


async def test_one_with_more_sequences_than_places_runs_alone(tmp_path: Path) -> None:
    limits = admission(tmp_path, max_in_flight=6, max_in_flight_per_task=4)
    places = limits.places("naming", 500)
    gate = await limits.enter("naming", None, places)
    assert (places, gate.in_flight) == (4, 4)
    assert limits.try_enter("naming") is None
    assert limits.try_enter("base") is not None


async def test_one_that_needs_many_places_is_not_passed_for_ever_by_those_that_need_one(
    tmp_path: Path,
) -> None:
    """Each place that comes free goes to it in its turn; those of the others go on meanwhile."""
    limits = admission(tmp_path, max_in_flight=4, max_in_flight_per_task=4)
    gate = await limits.enter("base")
    for _ in range(3):
        await limits.enter("base")
    many = asyncio.ensure_future(limits.enter("naming", None, 4))
    await turns(5)
    singles = 0
    while not many.done() and singles < 20:
        single = asyncio.ensure_future(limits.enter("base"))
        await turns(5)
        limits.leave(gate)
        await turns(5)
        singles += 1
        if not single.done():
            single.cancel()
        await turns(5)
    assert many.done()
    assert (limits.in_flight, limits.gates["naming"].in_flight, limits.waiting) == (4, 4, 0)


async def test_two_that_need_every_place_do_not_wait_for_each_other(tmp_path: Path) -> None:
    limits = admission(tmp_path, max_in_flight=4, max_in_flight_per_task=3)
    held = [await limits.enter("concept") for _ in range(3)]
    first, second = (asyncio.ensure_future(limits.enter(task, None, 3)) for task in ("base", "naming"))
    await turns(5)
    for gate in held:
        limits.leave(gate)
    await turns(5)
    assert (first.done(), second.done()) == (True, False)
    limits.leave(await first, None, 3)
    limits.leave(await second, None, 3)
    assert (limits.in_flight, limits.waiting) == (0, 0)


async def test_one_that_leaves_while_it_gathers_gives_back_what_it_had(tmp_path: Path) -> None:
    limits = admission(tmp_path, max_in_flight=4, max_in_flight_per_task=4)
    gate = await limits.enter("base", None, 2)
    many = asyncio.ensure_future(limits.enter("base", None, 4))
    single = asyncio.ensure_future(limits.enter("base"))
    await turns(5)
    assert (limits.in_flight, many.done(), single.done()) == (4, False, False)
    many.cancel()
    await turns(5)
    assert single.done()
    assert (limits.in_flight, limits.waiting) == (3, 0)
    limits.leave(gate, None, 2)
    limits.leave(await single)
    assert limits.in_flight == 0


async def test_who_gives_way_just_as_its_time_ends_hears_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Ends:
        """Its time is over in the turn of the loop in which the wait ends."""

        async def __aenter__(self) -> None: ...

        async def __aexit__(self, *_: object) -> None:
            raise TimeoutError

    limits = admission(tmp_path, max_in_flight=1, max_waiting_per_task=2)
    gate = await limits.enter("naming", key="flood")
    with monkeypatch.context() as patched:
        patched.setattr(asyncio, "timeout", lambda _: Ends())
        flood = [asyncio.ensure_future(limits.enter("naming", key="flood")) for _ in range(2)]
        await turns(5)
    light = asyncio.ensure_future(limits.enter("naming", key="light"))
    with pytest.raises(TooManyRequests, match="the most that may"):
        await flood.pop()
    assert (limits.in_flight, limits.waiting) == (1, 2)
    flood[0].cancel()
    await asyncio.gather(*flood, return_exceptions=True)
    limits.leave(gate)
    limits.leave(await light)
    assert (limits.in_flight, limits.waiting) == (0, 0)
