"""More adapters than LoRA slots: what is resident, who waits for how long, and that nobody is forgotten."""

from __future__ import annotations

import asyncio
import math
import random
from collections import Counter
from pathlib import Path

import pytest

from gateway.admission.limits import Admission
from gateway.admission.turns.lora_slots import QUANTUM, Slots
from gateway.admission.turns.queues import Gate
from gateway.config.document import Config
from gateway.errors import RequestError
from tests.fakes.virtual_time import now, passed, run_virtual, virtual
from tests.support.stack import config_of


def adapter(number: int) -> str:
    return f"task{number}@{number:012x}"


def many_tasks(folder: Path, count: int, **bounds: object) -> Config:
    document = config_of(folder).model_dump(mode="json", by_alias=True)
    document["tasks"] = {f"task{number}": {"adapter": str(folder)} for number in range(count)}
    document["pipelines"] = {}
    roomy = {"max_in_flight": 10_000, "max_in_flight_per_task": 5_000, "max_waiting_per_task": 10_000}
    document["gateway"] |= {**roomy, "max_waiting": 100_000, "queue_timeout_s": 1e6, **bounds}
    return Config.model_validate(document)


class Model:
    """Beside the real slots: who is in flight, who came when."""

    def __init__(self, slots: int, residency_s: float, seed: int) -> None:
        self.random = random.Random(seed)
        self.residency_s = residency_s
        self.clock = 0.0
        self.in_flight: Counter[str] = Counter()
        self.came: dict[str, float] = {}
        self.slots = Slots(slots, residency_s, 3, self.changed)
        self.admitted = self.refused = self.evicted = 0

    def changed(self, adapter_id: str, change: int, why: str) -> None:
        if change > 0:
            assert adapter_id not in self.came
            self.came[adapter_id] = self.clock
        else:
            assert not self.in_flight[adapter_id], "evicted with work in flight"
            since = self.came.pop(adapter_id)
            assert self.clock - since >= self.residency_s, "evicted before its least residency was over"
            self.evicted += 1

    def step(self) -> None:
        self.clock += self.random.choice((0.0, 0.01, 0.1, 0.4))
        asked = adapter(self.random.randrange(7))
        busy = list(self.in_flight.elements())
        if busy and self.random.random() < 0.5:
            left = self.random.choice(busy)
            self.in_flight[left] -= 1
            self.slots.leave(left)
        else:
            contended = self.random.random() < 0.5
            waited_for = contended or self.random.random() < 0.5
            if self.slots.admit(asked, self.clock, waited_for=waited_for, contended=contended):
                self.in_flight[asked] += 1
                self.admitted += 1
            else:
                self.refused += 1
        assert set(self.slots.residents) == set(self.came)
        assert len(self.came) <= self.slots.slots
        for adapter_id, resident in self.slots.residents.items():
            assert resident.in_flight == self.in_flight[adapter_id]


@pytest.mark.parametrize("seed", range(20))
def test_random_requests_keep_slots_residency_and_work_in_flight(seed: int) -> None:
    model = Model(slots=1 + seed % 4, residency_s=(0.0, 0.3)[seed % 2], seed=seed)
    for _ in range(2000):
        model.step()
    assert min(model.admitted, model.refused, model.evicted) > 20


def test_adapter_that_had_its_turn_gives_way_and_only_then() -> None:
    slots = Slots(1, 1.0, quantum=2)
    first, second = adapter(1), adapter(2)
    for at in (0.0, 0.1, 0.2, 0.3):  # its residency lasts longer than its quantum
        assert slots.admit(first, at, waited_for=True, contended=True)
    assert not slots.admit(second, 0.4, waited_for=False, contended=False)
    assert not slots.admit(first, 1.1, waited_for=True, contended=True)
    assert slots.admit(first, 1.1, waited_for=True, contended=False)  # the other could not go on anyway
    for _ in range(5):
        assert not slots.admit(second, 1.2, waited_for=False, contended=False)
        slots.leave(first)
    assert slots.admit(second, 1.3, waited_for=False, contended=False)


def test_only_as_many_give_way_as_slots_are_waited_for_and_those_who_are_done_first() -> None:
    slots = Slots(3, 0.0, quantum=2)
    for number, requests in ((1, 6), (2, 3), (3, 4)):
        for _ in range(requests):
            assert slots.admit(adapter(number), 0.0, waited_for=True, contended=0)

    def goes_on(contended: int) -> list[int]:
        return [each for each in (1, 2, 3) if slots.goes_on(adapter(each), 1.0, contended=contended)]

    assert [goes_on(count) for count in range(4)] == [[1, 2, 3], [1, 3], [1], []]


def test_by_rounds_many_at_once_have_as_long_a_turn_as_one_after_the_other() -> None:
    slots = Slots(1, 0.0, quantum=3, by_rounds=True)
    one = adapter(1)
    for _ in range(4):
        assert slots.admit(one, 0.0, waited_for=True, contended=1)
    for _ in range(5):
        slots.leave(one)
        assert slots.admit(one, 1.0, waited_for=True, contended=1)
    slots.leave(one)
    assert not slots.goes_on(one, 1.0, contended=1)  # nine begun, three beside it at a time
    assert slots.in_flight == 3


def test_fewer_slots_are_reached_as_work_ends() -> None:
    slots = Slots(4, 10.0)
    for number in range(4):
        slots.admit(adapter(number), 0.0, waited_for=False, contended=False)
    slots.leave(adapter(3))
    slots.resize(2)
    assert list(slots.residents) == [adapter(0), adapter(1), adapter(2)]
    slots.leave(adapter(1))
    assert list(slots.residents) == [adapter(0), adapter(2)]


def test_what_is_at_the_engine_already_is_taken_over_without_the_base() -> None:
    slots = Slots(1, 0.0)
    slots.adopt({"base": 3, None: 1, adapter(1): 2, adapter(2): 1}, 5.0)
    assert {name: one.in_flight for name, one in slots.residents.items()} == {adapter(1): 2, adapter(2): 1}
    slots.leave(adapter(2))
    assert list(slots.residents) == [adapter(1)]


class Engine:
    """Requests that take time, and what may never be true meanwhile."""

    def __init__(self, config: Config, slots: int, adapters: int, seed: int = 0) -> None:
        self.random = random.Random(seed)
        self.slots = slots
        self.limits = Admission(config, clock=now, on_resident=self.resident)
        self.limits.set_slots(slots, adapters)
        self.in_flight: Counter[str] = Counter()
        self.residents: dict[str, float] = {}
        self.waited_s: dict[int, list[tuple[int, float]]] = {number: [] for number in range(adapters)}
        self.least_residency_s = config.gateway.least_residency_s
        self.done = self.gone = 0

    def resident(self, adapter_id: str, change: int, why: str) -> None:
        if change > 0:
            self.residents[adapter_id] = now()
        else:
            assert not self.in_flight[adapter_id]
            assert now() - self.residents.pop(adapter_id) >= self.least_residency_s

    async def request(self, number: int, takes_s: float) -> None:
        task, adapter_id = f"task{number}", adapter(number)
        began, ahead = now(), self.limits.busy(adapter_id) - self.in_flight[adapter_id]
        gate = await self.limits.enter(task, adapter_id)
        try:
            self.waited_s[number].append((ahead, now() - began))
            self.in_flight[adapter_id] += 1
            assert len(+self.in_flight) <= self.slots
            await passed(takes_s)
            self.done += 1
        finally:
            self.in_flight[adapter_id] -= 1
            self.limits.leave(gate, adapter_id)

    def assert_empty(self) -> None:
        limits = self.limits
        assert (limits.in_flight, limits.waiting, limits._turns.lanes) == (0, 0, {})
        assert not any(limits._residency.busy.values())
        assert not any(gate.in_flight or gate.waiting or gate.lanes for gate in limits.gates.values())


@pytest.mark.parametrize(
    ("slots", "adapters", "clients", "takes_s", "residency_s"),
    [
        (1, 3, 8, 0.2, 0.5),
        (2, 8, 20, 0.3, 0.5),
        (4, 16, 5, 2.0, 0.1),
        (4, 64, 1, 0.5, 0.5),
        (3, 7, 15, 0.05, 1.0),
    ],
)
@virtual
async def test_nobody_waits_longer_than_the_bound_says(
    tmp_path: Path, slots: int, adapters: int, clients: int, takes_s: float, residency_s: float
) -> None:
    """Every adapter has clients that ask again at once, so all want a slot all the time."""
    config = many_tasks(tmp_path, adapters, least_residency_s=residency_s)
    engine = Engine(config, slots, adapters, seed=adapters)
    turn_s = max(residency_s, QUANTUM * takes_s) + takes_s
    until = 2.5 * math.ceil(adapters / slots) * turn_s

    async def client(number: int) -> None:
        while now() < until:
            await engine.request(number, takes_s * engine.random.uniform(0.1, 1.0))

    await asyncio.gather(*(client(number) for number in range(adapters) for _ in range(clients)))
    bound_s = math.ceil(adapters / slots) * turn_s
    slack_s = 0.002 * adapters  # of timers, one for each turn
    for waits in engine.waited_s.values():
        assert len(waits) > clients  # everyone had a turn, and another
        for ahead, waited_s in waits:
            assert waited_s <= (1 + ahead // QUANTUM) * bound_s + slack_s
    engine.assert_empty()


@pytest.mark.parametrize("seed", range(12))
@virtual
async def test_random_coming_going_and_giving_up_loses_nobody(tmp_path: Path, seed: int) -> None:
    """With places, slots and time-outs all scarce; a lost wake-up would let the virtual clock run dry."""
    bounds = {"max_in_flight": 6, "max_in_flight_per_task": 2, "max_waiting_per_task": 6}
    config = many_tasks(tmp_path, 6, **bounds, least_residency_s=0.2, queue_timeout_s=1e5)
    engine = Engine(config, 2, 6, seed)
    chance = engine.random
    tasks: set[asyncio.Task[None]] = set()

    async def visitor() -> None:
        try:
            await engine.request(chance.randrange(6), chance.uniform(0.0, 0.4))
        except RequestError:
            engine.gone += 1

    for _ in range(800):
        for _ in range(chance.randrange(4)):
            tasks.add(asyncio.create_task(visitor()))
        if tasks and chance.random() < 0.5:
            chance.choice(sorted(tasks, key=id)).cancel()
        if chance.random() < 0.02:
            engine.slots = max(engine.slots, chance.randrange(1, 4))
            engine.limits.set_slots(engine.slots, 6)
        await passed(chance.choice((0.0, 0.0, 0.01, 0.1)))
        tasks = {task for task in tasks if not task.done()}
    await asyncio.gather(*tasks, return_exceptions=True)
    assert engine.done > 200
    assert now() < 1e4, "somebody waited for a time-out"
    engine.assert_empty()


def test_waiting_for_a_residency_to_end_costs_no_turns_of_the_loop(tmp_path: Path) -> None:
    async def work() -> None:
        config = many_tasks(tmp_path, 3, least_residency_s=100.0, max_in_flight_per_task=1)
        engine = Engine(config, 1, 3)
        await engine.request(0, 0.1)
        holding = await engine.limits.enter("base", "base")
        base = asyncio.create_task(engine.limits.enter("base", "base"))
        await asyncio.wait_for(engine.request(1, 0.1), 200)
        assert now() == pytest.approx(100.1, abs=0.01)
        await passed(1000)  # now only the base waits, for its own place
        engine.limits.leave(holding, "base")
        engine.limits.leave(await base, "base")
        engine.assert_empty()

    assert run_virtual(work()).turns < 100


@virtual
async def test_earlier_end_of_a_residency_is_not_slept_through(tmp_path: Path) -> None:
    config = many_tasks(tmp_path, 4, least_residency_s=10.0)
    engine = Engine(config, 2, 4)
    first = asyncio.create_task(engine.request(0, 8.0))  # since 0, busy until 8
    await passed(5.0)
    await engine.request(1, 0.1)  # since 5, idle from 5.1: due at 15
    waiting = asyncio.create_task(engine.request(2, 0.1))
    await first  # idle from 8, due at 10
    await waiting
    assert now() == pytest.approx(10.1, abs=0.05)


@virtual
async def test_queue_of_the_base_takes_no_turn_from_an_adapter(tmp_path: Path) -> None:
    config = many_tasks(tmp_path, 2, least_residency_s=0.1, max_in_flight_per_task=1)
    engine = Engine(config, 1, 2)
    await engine.limits.enter("base", "base")
    queued = asyncio.create_task(engine.limits.enter("base", "base"))
    await asyncio.sleep(0)
    for _ in range(3 * QUANTUM):
        await engine.request(0, 0.1)
    assert all(waited_s == 0 for _, waited_s in engine.waited_s[0])
    queued.cancel()


@virtual
async def test_adapter_without_a_place_in_its_task_takes_no_turn_from_another(tmp_path: Path) -> None:
    config = many_tasks(tmp_path, 3, least_residency_s=0.1, max_in_flight_per_task=1)
    engine = Engine(config, 2, 3)
    long = asyncio.create_task(engine.request(0, 1000.0))
    await asyncio.sleep(0)
    other_version = asyncio.create_task(engine.limits.enter("task0", "task0@other"))
    await asyncio.sleep(0)
    for _ in range(3 * QUANTUM):
        await engine.request(1, 0.1)
    assert all(waited_s == 0 for _, waited_s in engine.waited_s[1])
    await long
    engine.limits.leave(await other_version, "task0@other")
    engine.assert_empty()


@virtual
async def test_newcomer_does_not_take_the_slot_of_one_who_waits(tmp_path: Path) -> None:
    engine = Engine(many_tasks(tmp_path, 3, least_residency_s=1.0), 1, 3)
    await engine.request(0, 0.5)
    order: list[int] = []

    async def ask(number: int) -> None:
        await engine.request(number, 0.1)
        order.append(number)

    waiting = asyncio.create_task(ask(1))
    await asyncio.sleep(0)
    asyncio.get_running_loop().now = 1.0004  # type: ignore[attr-defined]  # due, and not yet woken
    await asyncio.gather(waiting, ask(2))
    assert order == [1, 2]


@virtual
async def test_first_who_waits_for_a_slot_keeps_its_turn_while_others_are_served(tmp_path: Path) -> None:
    config = many_tasks(tmp_path, 40, least_residency_s=0.1, max_in_flight=2)
    engine = Engine(config, 1, 40)
    busy = [asyncio.create_task(engine.request(0, 0.5)) for _ in range(20)]  # it is in its slot
    await asyncio.sleep(0)
    waiting = []
    for number in range(1, 6):
        waiting.append(asyncio.create_task(engine.request(number, 0.1)))
        await passed(0.3)
    await asyncio.gather(*busy, *waiting)
    arrived = [0.3 * number for number in range(5)]
    ended = [at + engine.waited_s[number][0][1] for number, at in enumerate(arrived, 1)]
    assert ended == sorted(ended)


@virtual
async def test_slots_that_come_and_go_while_requests_run(tmp_path: Path) -> None:
    shown: Counter[str] = Counter()

    def resident(name: str, change: int, why: str) -> None:
        shown[name] += change

    limits = Admission(many_tasks(tmp_path, 3), clock=now, on_resident=resident)
    held: list[tuple[Gate, str]] = [
        (await limits.enter(f"task{number}", adapter(number)), adapter(number)) for number in range(3)
    ]
    limits.set_slots(2, 3)
    assert sorted(+shown) == [adapter(0), adapter(1), adapter(2)]
    waiting = asyncio.create_task(limits.enter("task0", "task0@new"))
    await passed(1)
    assert not waiting.done()
    limits.set_slots(None, 3)
    assert not +shown
    held.append((await waiting, "task0@new"))
    limits.set_slots(1, 4)
    for gate, adapter_id in held:
        limits.leave(gate, adapter_id)
    assert sum(shown.values()) == 1
    assert (limits.in_flight, sum(limits._residency.busy.values())) == (0, 0)


@virtual
async def test_residency_is_shown_with_what_waits(tmp_path: Path) -> None:
    engine = Engine(many_tasks(tmp_path, 2, least_residency_s=5.0), 1, 2)
    first = asyncio.create_task(engine.request(0, 2.0))
    await passed(1.0)
    second = asyncio.create_task(engine.request(1, 2.0))
    await passed(0.5)
    assert engine.limits.residency() == [
        {"adapter": adapter(0), "in_flight": 1, "waiting": 0, "resident_s": 1.5},
        {"adapter": adapter(1), "in_flight": 0, "waiting": 1, "resident_s": None},
    ]
    await asyncio.gather(first, second)
