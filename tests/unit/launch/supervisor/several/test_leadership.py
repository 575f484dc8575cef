"""One control plane leads, and another once its word has been missing for long enough."""

from __future__ import annotations

import asyncio

import pytest

from launch.supervisor.several.leadership import ABSENT_S, LEASE_S, RENEW_S, Leader, Leadership, this_one
from tests.fakes.fake_redis import FakeRedis
from tests.fakes.virtual_time import now, passed, virtual

SLACK_S = 1.5


class Clocked(FakeRedis):
    """Its clock is the loop's."""

    @property
    def now(self) -> float:
        return now()

    @now.setter
    def now(self, _: float) -> None:
        pass


class Sides:
    def __init__(self) -> None:
        self.server = Clocked()
        self.leading: list[str] = []

    def one(self, name: str) -> Leadership:
        return Leadership(self.server.link(), Leader(name, f"host {name}"), now)

    async def lead(self, one: Leadership) -> None:
        """Wait, then lead until cancelled."""
        assert await one.wait(lambda: False)
        self.leading.append(one.me.name)
        await one.keep()


@pytest.fixture
def sides() -> Sides:
    return Sides()


async def started(sides: Sides, name: str) -> tuple[Leadership, asyncio.Task[None]]:
    made = sides.one(name)
    task = asyncio.create_task(sides.lead(made))
    await passed(ABSENT_S + SLACK_S)
    return made, task


@virtual
async def test_one_leads_and_the_other_knows_where(sides: Sides) -> None:
    await started(sides, "a")
    b, _ = await started(sides, "b")
    await passed(100)
    assert sides.leading == ["a"]
    assert b.known == Leader("a", "host a")


@virtual
async def test_one_that_says_nothing_is_followed_by_the_other(sides: Sides) -> None:
    _, first = await started(sides, "a")
    await started(sides, "b")
    first.cancel()  # killed, or stopped: Redis hears nothing more
    await passed(LEASE_S - RENEW_S - 0.1)
    assert sides.leading == ["a"]
    await passed(RENEW_S + ABSENT_S + SLACK_S)
    assert sides.leading == ["a", "b"]


@virtual
async def test_one_that_leaves_is_followed_sooner(sides: Sides) -> None:
    a, first = await started(sides, "a")
    await started(sides, "b")
    first.cancel()
    await a.leave()
    await passed(ABSENT_S + SLACK_S)
    assert sides.leading == ["a", "b"]


@virtual
async def test_an_emptied_redis_hears_of_the_leader_before_another_begins(sides: Sides) -> None:
    await started(sides, "a")
    await started(sides, "b")
    for _ in range(5):
        sides.server.emptied()
        await passed(20)
    assert sides.leading == ["a"]


@virtual
async def test_without_redis_nobody_begins_and_nobody_ends(sides: Sides) -> None:
    _, first = await started(sides, "a")
    await started(sides, "b")
    sides.server.away = True
    await passed(100)
    assert sides.leading == ["a"]
    assert not first.done()
    sides.server.away = False
    await passed(100)
    assert sides.leading == ["a"], "the leader says its word before the other may begin"


@virtual
async def test_of_two_that_wait_one_begins(sides: Sides) -> None:
    for name in "ab":
        asyncio.create_task(sides.lead(sides.one(name)))  # noqa: RUF006  cancelled at the end
    await passed(100)
    assert len(sides.leading) == 1


@virtual
async def test_who_is_told_to_stop_waits_no_longer(sides: Sides) -> None:
    await started(sides, "a")
    over: list[bool] = []
    waiting = asyncio.create_task(sides.one("b").wait(lambda: bool(over)))
    await passed(10)
    over.append(True)
    await passed(1)
    assert waiting.result() is False


@virtual
async def test_what_another_release_wrote_is_still_a_leader(
    sides: Sides, capsys: pytest.CaptureFixture[str]
) -> None:
    b = sides.one("b")
    b._note(b"\x00 no JSON")
    assert b.known is None
    b._note(b'{"name": "b", "where": "host b"}')
    assert "this control plane leads" in capsys.readouterr().err


def test_a_leader_is_named_by_its_machine_and_its_gateway() -> None:
    assert this_one("http://h:1").where.endswith("(http://h:1)")
    assert this_one(None).name != this_one(None).name
