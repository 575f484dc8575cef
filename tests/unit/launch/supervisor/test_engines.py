"""All engines together: an adapter is proven on each that runs, or stays on none."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace

import pytest

from gateway.config.snapshot import PROVING, EngineStatus
from gateway.errors import EngineFailure, Unavailable
from launch.adapters.versions import Version
from launch.engine.argv import EngineCommand
from launch.engine.attached import Attached
from launch.engine.managed import Means
from launch.supervisor import engines
from launch.supervisor.engines import Engines, started_at_once
from tests.fakes.virtual_time import passed, virtual
from tests.support.stack import config_of

pytestmark = pytest.mark.anyio
VERSION = Version("naming@1", "/adapters/naming")


class Keeper:
    """One engine, ready or on its way."""

    def __init__(
        self, name: str, state: str = "ready", *, may_start: bool = True, fails: bool = False
    ) -> None:
        self.status = SimpleNamespace(name=name, state=state, reason="it died", next_try_at=None, restarts=0)
        self.may_start, self._fails = may_start, fails
        self.adapters = SimpleNamespace(proven={}, failed={})
        self.calls: list[str] = []

    @property
    def ready(self) -> bool:
        return bool(self.status.state == "ready")

    def start(self, *, force: bool = False) -> None:
        self.calls.append("forced" if force else "start")

    def halt(self, *, leave: bool = False) -> None:
        self.calls.append("leave" if leave else "halt")

    def idle(self) -> None:
        self.calls.append("idle")

    async def ensure(self, version: Version, key: str, system: str | None) -> None:
        self.calls.append(f"ensure {key} {system}")
        if self._fails:
            raise EngineFailure("it does not act")
        self.adapters.proven[version.id] = version

    async def unload(self, adapter_id: str) -> None:
        self.calls.append("unload")
        self.adapters.proven.pop(adapter_id, None)


def together(*keepers: Keeper) -> Engines:
    made = Engines(SimpleNamespace(), [], "build")
    made.keepers = list(keepers)  # type: ignore[arg-type]
    return made


async def load(made: Engines, told: list[str] | None = None) -> None:
    await made.load(VERSION, "tasks.naming", (told if told is not None else []).append, "Name it.")


async def test_it_goes_onto_each_engine_that_runs() -> None:
    keepers = [Keeper("one"), Keeper("two", "stopped"), Keeper("three")]
    told: list[str] = []
    await load(together(*keepers), told)
    assert [one.calls for one in keepers] == [
        ["ensure tasks.naming Name it."],
        [],
        ["ensure tasks.naming Name it."],
    ]
    assert told == [f"{PROVING} on one", f"{PROVING} on three"]


@pytest.mark.parametrize(("known", "left"), [(False, [False, False]), (True, [True, False])])
async def test_what_fails_on_one_is_undone_on_all_unless_it_was_served_before(
    known: bool, left: list[bool]
) -> None:
    keepers = [Keeper("one"), Keeper("two", fails=True)]
    if known:
        keepers[0].adapters.proven[VERSION.id] = VERSION
    with pytest.raises(EngineFailure):
        await load(together(*keepers))
    assert [VERSION.id in one.adapters.proven for one in keepers] == left


@virtual
async def test_where_none_runs_one_is_started_and_waited_for() -> None:
    keeper = Keeper("one", "stopped")
    told: list[str] = []
    loading = asyncio.create_task(load(together(keeper), told))
    await passed(5.0)
    assert (keeper.calls, told) == (["start"], ["waiting for an engine"])
    keeper.status.state = "ready"
    await loading
    assert VERSION.id in keeper.adapters.proven


@virtual
async def test_where_none_will_be_ready_that_is_said_at_once_with_the_reason() -> None:
    with pytest.raises(Unavailable, match="one: failed it died") as refused:
        await load(together(Keeper("one", "failed", may_start=False)))
    assert refused.value.code == "engine_not_ready"


@virtual
async def test_a_start_that_takes_for_ever_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = asyncio.get_running_loop().time
    monkeypatch.setattr(engines, "time", SimpleNamespace(monotonic=clock))
    with pytest.raises(Unavailable):
        await load(together(Keeper("one", "starting")))
    assert clock() == pytest.approx(engines.STARTS_WITHIN_S, abs=1.0)


async def test_an_engine_that_fails_again_and_again_is_not_waited_for() -> None:
    """Else clients would wait for it minutes long while others could be started."""
    fresh, failing, waiting = (Keeper(name, "starting") for name in ("fresh", "failing", "waiting"))
    failing.status.restarts = 2
    waiting.status.state, waiting.status.next_try_at, waiting.status.restarts = "failed", 1.0, 1
    spare = Keeper("spare", "stopped")
    made = together(fresh, failing, waiting, spare)
    assert made.coming == 1
    made.scale(4)
    assert spare.calls == ["start"]


async def test_only_those_that_failed_are_forced_to_start() -> None:
    keepers = [Keeper("one", "failed"), Keeper("two", "stopped")]
    made = together(*keepers)
    made.start(force=True)
    made.retry_failed()
    made.halt()
    assert [one.calls for one in keepers] == [["forced", "forced", "halt"], ["start", "halt"]]


async def test_failures_of_all_engines_are_told_together() -> None:
    keepers = [Keeper("one"), Keeper("two")]
    keepers[0].adapters.failed = {"a@1": "too large"}
    keepers[1].adapters.failed = {"b@1": "no effect"}
    assert together(*keepers).failures == {"a@1": "too large", "b@1": "no effect"}


async def test_only_engines_that_run_unload() -> None:
    keepers = [Keeper("one"), Keeper("two", "stopped")]
    await together(*keepers).unload("naming@1")
    assert [one.calls for one in keepers] == [["unload"], []]


async def test_what_is_wanted_again_meanwhile_stays_on_those_that_were_not_asked_yet() -> None:
    keepers = [Keeper("one"), Keeper("two")]
    await together(*keepers).unload("naming@1", lambda: {"naming@1"} if keepers[0].calls else ())
    assert [one.calls for one in keepers] == [["unload"], []]


def test_an_engine_without_means_is_somebody_elses(tmp_path: Path) -> None:
    host = SimpleNamespace(config=config_of(tmp_path))
    made = Engines(host, [(EngineStatus("engine-0", "http://e", managed=False), None)], "build")
    assert [type(one) for one in made.keepers] == [Attached]


def scaled(*states: str, wanted: int) -> list[list[str]]:
    keepers = [Keeper(str(number), state) for number, state in enumerate(states)]
    together(*keepers).scale(wanted)
    return [one.calls for one in keepers]


def test_as_many_serve_as_are_wanted_and_what_comes_counts() -> None:
    assert scaled("stopped", "stopped", "stopped", wanted=2) == [["start"], ["start"], []]
    assert scaled("starting", "stopped", wanted=1) == [[], []]
    assert scaled("stopped", "draining", wanted=1) == [[], ["start"]]
    assert scaled("failed", "stopped", wanted=1) == [[], ["start"]]


def test_the_last_that_serve_go_first_and_none_that_starts() -> None:
    assert scaled("ready", "ready", "ready", wanted=1) == [[], ["idle"], ["idle"]]
    assert scaled("ready", "starting", wanted=1) == [[], []]
    assert scaled("starting", "stopped", wanted=0) == [[], []]


def test_somebody_who_asks_is_heard_and_gets_one() -> None:
    keepers = [Keeper("one", "stopped"), Keeper("two", "stopped")]
    made = together(*keepers)
    made.scale(0)
    made.start()
    assert [one.calls for one in keepers] == [["start"], []]
    assert (made.take_asked(), made.take_asked()) == (True, False)


@pytest.mark.parametrize(
    ("runs", "first", "expected"),
    [
        ("...", 1, "x.."),
        ("...", 0, "..."),
        ("...", None, "xxx"),
        (".x.", 1, ".x."),
        (".xx", 1, ".xx"),
        ("..x", 2, "x.x"),
    ],
)
def test_engines_that_run_are_taken_before_others_are_started(
    runs: str, first: int | None, expected: str
) -> None:
    """One that is left out would hold its card and serve nobody."""
    laid = [
        (EngineStatus(f"engine-{number}"), Means(EngineCommand(("x",), {}), runs=one == "x"))
        for number, one in enumerate(runs)
    ]
    assert started_at_once(laid, first) == [one == "x" for one in expected]
