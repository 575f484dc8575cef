"""A plan carried out: loaded and proven before anything is unloaded, whoever dies meanwhile."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from gateway.config.engine_settings import PlacementConfig
from gateway.config.snapshot import GatewayReport, on_engine
from gateway.errors import EngineFailure
from gateway.upkeep import Upkeep
from launch.adapters.versions import Version, Wanted
from launch.supervisor.gateway_reports import Gateways
from launch.supervisor.placement.mover import LOOK_EVERY_S, PLAN_EVERY_S, Mover
from tests.clients.fake_stack import PLACEMENT
from tests.support.waiting import turns

pytestmark = pytest.mark.anyio


class Keeper:
    """One engine with two slots; `hold` keeps a load under way."""

    def __init__(self, name: str, *held: str, state: str = "ready", slots: int = 2) -> None:
        self.status = SimpleNamespace(name=name, state=state, slots=slots, started_at=1.0)
        self.adapters = SimpleNamespace(proven=dict.fromkeys(held), failed={})
        self.hold: asyncio.Event | None = None
        self.fails = False
        self.did: list[str] = []

    @property
    def ready(self) -> bool:
        return bool(self.status.state == "ready")

    async def ensure(self, version: Version, key: str) -> None:
        if self.hold is not None:
            await self.hold.wait()
        self.did.append(f"load {version.id}")
        if self.fails:
            self.adapters.failed[version.id] = "it does not act"
            raise EngineFailure("it does not act")
        self.adapters.proven[version.id] = None

    async def unload(self, adapter_id: str) -> None:
        self.did.append(f"unload {adapter_id}")
        self.adapters.proven.pop(adapter_id, None)

    @property
    def holds(self) -> set[str]:
        return set(self.adapters.proven)


class House:
    def __init__(self, keepers: list[Keeper], adapters: int, **settings: object) -> None:
        self.now = 0.0
        self.version = 1
        self.keepers = keepers
        self.gateways = Gateways(lambda: self.now)
        self.failures: list[str] = []
        self.upkeep = Upkeep(self.failures.append)
        self.config = SimpleNamespace(
            placement=PlacementConfig.model_validate({"min_replicas": 1, **settings})
        )
        self.want(adapters)
        self.mover = Mover(
            self,  # type: ignore[arg-type]
            keepers,  # type: ignore[arg-type]
            self.gateways,
            self.upkeep,
            self.publish,
            lambda: self.now,
        )

    def want(self, adapters: int) -> None:
        versions = [Version(f"t{number}@1", f"/t{number}") for number in range(adapters)]
        self.desired = {f"t{number}": Wanted(f"t{number}", (one,)) for number, one in enumerate(versions)}

    @property
    def wanted_versions(self) -> list[Version]:
        return [version for wanted in self.desired.values() for version in wanted.versions]

    def changed(self) -> None:
        pass

    def publish(self) -> int:
        self.version += 1
        return self.version

    async def settle(self, looks: int = 4) -> None:
        for _ in range(looks):
            self.mover.look()
            await turns()
            self.now += 1.0
        assert not self.failures

    @property
    def did(self) -> list[str]:
        return [each for keeper in self.keepers for each in keeper.did]


def ids(*numbers: int) -> list[str]:
    return [f"t{number}@1" for number in numbers]


async def test_an_engine_that_is_lost_has_its_adapters_elsewhere_at_once() -> None:
    first, second = Keeper("e0", *ids(0, 1)), Keeper("e1", *ids(2, 3))
    house = House([first, second], 4, max_moves_per_minute=1)
    await house.settle()
    assert house.did == []
    second.status.state = "failed"
    second.adapters.proven.clear()
    assert house.mover.to_come() == set(ids(2, 3))
    await house.settle()
    assert first.holds == set(ids(0, 1, 2, 3))
    assert house.mover.to_come() == set()
    assert house.mover.moves_left() == 1  # whom nobody has goes first, and counts as no move


async def test_an_engine_that_joins_gets_its_share_by_and_by() -> None:
    first, second = Keeper("e0", *ids(0, 1, 2, 3)), Keeper("e1", state="starting")
    house = House([first, second], 4, max_moves_per_minute=1)
    await house.settle()
    house.now = 100.0  # it had its time to start together
    second.status.state = "ready"
    await house.settle()
    assert (len(first.holds), len(second.holds)) == (3, 1)
    assert house.did[0].startswith("unload") or second.did[0].startswith("load")
    house.now += 60.0
    await house.settle()
    assert (len(first.holds), len(second.holds)) == (2, 2)
    assert first.holds | second.holds == set(ids(0, 1, 2, 3))


async def test_nothing_is_unloaded_before_it_is_proven_elsewhere() -> None:
    first, second = Keeper("e0", *ids(0, 1, 2, 3)), Keeper("e1")
    second.hold = asyncio.Event()
    house = House([first, second], 4)
    await house.settle()
    assert first.holds == set(ids(0, 1, 2, 3))
    assert house.mover.operations["e1"].stage == "loading and proving on e1"
    second.hold.set()
    await house.settle()
    assert (len(first.holds), len(second.holds)) == (2, 2)
    assert house.mover.operations == {}


async def test_what_cannot_be_proven_stays_where_it_answers() -> None:
    first, second = Keeper("e0", *ids(0, 1, 2, 3)), Keeper("e1")
    second.fails = True
    house = House([first, second], 4)
    await house.settle()
    assert first.holds == set(ids(0, 1, 2, 3))
    assert second.did
    assert all(each.startswith("load") for each in second.did)
    assert {one.did for one in house.mover.moved} == {"failed"}
    tried = len(second.did)
    await house.settle()
    assert len(second.did) <= tried + 2  # each of them once


async def test_an_engine_that_dies_while_an_adapter_leaves_another_keeps_it_there() -> None:
    first, second = Keeper("e0", *ids(0)), Keeper("e1", *ids(0))
    house = House([first, second], 1, policy="planned")
    await house.gateways.joined("g1")
    house.mover.look()
    await turns()
    leaving = first if house.mover.leaving("e0") else second
    staying = second if leaving is first else first
    pair = on_engine(leaving.status.name, "t0@1")
    await house.gateways.report(GatewayReport("g1", house.version, leaving=[pair]))
    await turns()
    assert leaving.holds == {"t0@1"}  # a request is on it
    staying.status.state = "failed"
    staying.adapters.proven.clear()
    await house.gateways.report(GatewayReport("g1", house.version))
    await turns()
    assert leaving.holds == {"t0@1"}
    assert house.mover.leaving(leaving.status.name) == set()


async def test_it_is_unloaded_when_no_gateway_has_a_request_there() -> None:
    first, second = Keeper("e0", *ids(0)), Keeper("e1", *ids(0))
    house = House([first, second], 1, policy="planned")
    await house.gateways.joined("g1")
    house.mover.look()
    await turns()
    leaving = first if house.mover.leaving("e0") else second
    assert leaving.holds == {"t0@1"}  # the gateway goes by what it heard before
    await house.gateways.report(GatewayReport("g1", house.version))
    await turns()
    assert leaving.holds == set()
    assert [one.did for one in house.mover.moved] == ["unloaded"]


async def test_requests_that_do_not_end_keep_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("launch.supervisor.placement.mover.LEAVE_WITHIN_S", 0.0)
    first, second = Keeper("e0", *ids(0)), Keeper("e1", *ids(0))
    house = House([first, second], 1, policy="planned")
    await house.gateways.joined("g1")
    house.mover.look()
    await turns()
    assert (first.holds, second.holds) == ({"t0@1"}, {"t0@1"})
    assert [one.did for one in house.mover.moved] == ["kept"]


async def test_engines_that_start_together_share_out_before_any_takes_requests() -> None:
    first, second = (Keeper(name, state="starting") for name in ("e0", "e1"))
    house = House([first, second], 4)
    here = [{one.id for one in house.mover.wanted_on(name)} for name in ("e0", "e1")]
    assert [len(one) for one in here] == [2, 2]
    first.status.state = "ready"
    first.adapters.proven = dict.fromkeys(here[0])
    assert {one.id for one in house.mover.wanted_on("e1")} == here[1]
    await house.settle()
    assert house.did == []  # the other one comes with its own
    house.now = 100.0
    await house.settle()
    assert first.holds == set(ids(0, 1, 2, 3))  # it takes too long
    assert len(house.mover.wanted_on("e1")) == 2  # and has its share when it comes
    second.adapters.proven = dict.fromkeys(ids(0, 1, 2))
    assert {one.id for one in house.mover.wanted_on("e1")} >= set(ids(0, 1, 2))


async def test_one_engine_alone_is_to_have_everything() -> None:
    house = House([Keeper("e0", state="starting")], 9)
    assert [one.id for one in house.mover.wanted_on("e0")] == ids(*range(9))
    assert house.mover.homes_of("new@1") is None
    assert house.mover.to_come() == set()


async def test_a_new_adapter_has_homes_before_any_task_has_it() -> None:
    house = House([Keeper("e0", *ids(0, 1)), Keeper("e1", *ids(2))], 3, policy="planned")
    assert list(house.mover.homes_of("new@1") or ()) == ["e1"]


async def test_where_all_are_everywhere_again_what_is_missing_is_loaded() -> None:
    first, second = Keeper("e0", *ids(0, 1)), Keeper("e1", *ids(2))
    house = House([first, second], 3, policy="everywhere")
    await house.settle()
    assert first.holds == second.holds == set(ids(0, 1, 2))


async def test_what_it_shows() -> None:
    house = House([Keeper("e0", *ids(0, 1)), Keeper("e1", *ids(2))], 3, policy="planned")
    await house.gateways.joined("g1")
    await house.gateways.report(GatewayReport("g1", 1))
    await house.gateways.report(GatewayReport("g1", 1, tokens={"t0@1": 600}))
    await house.settle(1)
    shown: Any = house.mover.shown()
    assert (shown["policy"], shown["planned"], shown["moves_left"]) == ("planned", True, 12)
    assert [one["adapters"] for one in shown["engines"]] == [ids(0, 1), ids(2)]
    first = shown["adapters"][0]
    assert (first["id"], first["homes"], first["loaded_on"]) == ("t0@1", ["e0"], ["e0"])
    assert first["tokens_per_s"] > 9
    assert "tokens/s" in first["why"]
    page: Any = PLACEMENT  # what the page is tested with
    assert page.keys() == shown.keys()
    for name in ("engines", "adapters"):
        assert page[name][0].keys() == shown[name][0].keys()


async def test_it_looks_at_once_when_an_adapter_comes_and_else_now_and_then() -> None:
    house = House([Keeper("e0"), Keeper("e1")], 1)
    slept: asyncio.Queue[float] = asyncio.Queue()

    async def sleep(seconds: float) -> None:
        house.now += seconds
        await turns()
        await slept.put(seconds)

    house.mover._sleep = sleep
    running = asyncio.create_task(house.mover.run())
    assert await slept.get() == LOOK_EVERY_S
    assert house.keepers[0].holds == set(ids(0))
    house.want(2)
    for _ in range(3):
        await slept.get()
    assert house.keepers[0].holds == house.keepers[1].holds == set(ids(0, 1))
    house.keepers[0].adapters.proven.clear()  # nothing tells of it
    for _ in range(int(2 * PLAN_EVERY_S / LOOK_EVERY_S)):
        await slept.get()
    assert house.keepers[0].holds == set(ids(0, 1))
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_what_one_engine_cannot_load_has_its_home_on_another() -> None:
    engines = [Keeper(f"e{number}") for number in range(3)]
    house = House(engines, 6, policy="planned")
    broken = engines[1]
    broken.fails = True
    await house.settle()
    assert broken.did, "else this shows nothing"
    assert engines[0].holds | engines[2].holds == set(ids(*range(6)))
    tried = len(broken.did)
    await house.settle()
    assert len(broken.did) == tried
    assert not house.mover.to_come()


async def test_what_fails_on_three_engines_is_tried_on_no_fourth() -> None:
    engines = [Keeper(f"e{number}") for number in range(6)]
    for one in engines:
        one.fails = True
    house = House(engines, 1, policy="planned")
    await house.settle(8)
    assert len(house.did) == 3
    assert "failed to load" in house.mover.outlook.why["t0@1"]
    assert len(house.mover.homes_of("t0@1") or ()) == 1, "a command tries it again"


async def test_what_is_removed_before_its_turn_is_not_loaded() -> None:
    engine = Keeper("e0")
    engine.hold = asyncio.Event()
    house = House([engine], 2)
    await house.settle()
    house.want(1)
    engine.hold.set()
    await house.settle()
    assert engine.did == ["load t0@1"]
