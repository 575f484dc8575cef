"""An engine of ours: restarts, hangs, its idle hours, and what is said of each."""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from launch.engine import managed
from launch.engine.argv import EngineCommand
from launch.engine.http import served_models
from launch.engine.process import Begin, EngineChild, LocalEngine
from launch.machine.child import Child
from tests.fakes.plant import PlantOptions, timed_plant
from tests.support.waiting import calls

pytestmark = pytest.mark.anyio


async def test_killed_engine_comes_back_with_every_adapter(tmp_path: Path) -> None:
    async with timed_plant(tmp_path) as made:
        await made.until_state("ready")
        assert (await made.add("later", "two")).status_code == 200
        loaded = made.engine.loaded
        first = made.engine.pid
        os.kill(first, signal.SIGKILL)
        await made.until(lambda: made.engine.state == "failed")
        assert (made.engine.kind, made.engine.loaded) == ("crash", [])
        assert "SIGKILL" in made.engine.reason
        await made.until(lambda: made.engine.state == "ready")
        assert made.engine.pid != first
        assert made.engine.loaded == loaded


@pytest.mark.parametrize(("how", "blame"), [(signal.SIGSEGV, "request"), (signal.SIGKILL, "nobody")])
async def test_a_death_is_told_with_the_process_and_who_may_have_done_it(
    tmp_path: Path, how: signal.Signals, blame: str
) -> None:
    async with timed_plant(tmp_path) as made:
        await made.until_state("ready")
        assert made.engine.last_death is None
        process = made.engine.process
        os.kill(made.engine.pid, how)
        await made.until(lambda: made.engine.last_death is not None)
        death = made.engine.last_death
        assert death is not None
        assert (death.process, death.blame) == (process, blame)
        await made.until(lambda: made.engine.state == "ready")
        assert made.engine.process != process
        assert made.engine.last_death == death  # for a gateway that was away


async def test_hanging_engine_is_killed_and_restarted(tmp_path: Path) -> None:
    async with timed_plant(tmp_path, PlantOptions(engine={"hang_timeout_s": 0.4})) as made:
        await made.until_state("ready")
        first = made.engine.pid
        await made.fake(hang=True)
        await made.until(lambda: made.engine.kind == "hang")
        await made.until(lambda: made.engine.state == "ready" and made.engine.pid != first)


async def test_stopped_process_is_a_hang(tmp_path: Path) -> None:
    async with timed_plant(tmp_path, PlantOptions(engine={"hang_timeout_s": 0.4})) as made:
        await made.until_state("ready")
        os.kill(made.engine.pid, signal.SIGSTOP)
        await made.until(lambda: made.engine.kind == "hang")
        await made.until_state("ready")


async def test_restarts_are_bounded_and_the_control_plane_goes_on(tmp_path: Path) -> None:
    async with timed_plant(
        tmp_path, PlantOptions(arguments=("--fail", "it is broken"), engine={"max_restarts": 2})
    ) as made:
        await made.until(lambda: made.engine.state == "failed" and made.engine.next_try_at is None)
        assert (made.engine.restarts, made.engine.kind) == (3, "start")
        assert "it is broken" in made.engine.reason
        refused = await made.add("later", "two")
        assert refused.status_code == 503
        assert "it is broken" in refused.json()["error"]["message"]
        await made.client.post("/engines/start", json={})
        assert made.engine.next_try_at is None
        await made.client.post("/engines/start", json={"force": True})
        await made.until(lambda: made.engine.restarts == 1)


async def test_a_clock_that_is_set_back_makes_no_start_shorter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hours = itertools.count(500_000, -1)
    monkeypatch.setattr(time, "time", lambda: 3600.0 * next(hours))
    async with timed_plant(tmp_path) as made:
        await made.until_state("ready")
        assert made.engine.load_s is not None
        assert 0 <= made.engine.load_s < 600


async def test_setting_that_cannot_work_is_not_tried_again(tmp_path: Path) -> None:
    async with timed_plant(tmp_path, PlantOptions(arguments=("--nonsense",))) as made:
        await made.until(lambda: made.engine.state == "failed")
        assert (made.engine.kind, made.engine.next_try_at) == ("configuration", None)


async def test_lazy_engine_waits_for_somebody(tmp_path: Path) -> None:
    async with timed_plant(tmp_path, PlantOptions(base={"start": "lazy"})) as made:
        await asyncio.sleep(0)
        assert (made.engine.state, made.engine.lazy) == ("stopped", True)
        for _ in range(2):
            assert (await made.client.post("/engines/start", json={})).status_code == 202
        await made.until_state("ready")
        assert made.engine.load_s is not None


async def test_idle_engine_is_drained_and_stopped_and_starts_again(tmp_path: Path) -> None:
    async with timed_plant(tmp_path, PlantOptions(base={"idle_unload": 0.1})) as made:
        await made.until_state("ready")
        await made.until_state("stopped")
        assert made.engine.loaded == []
        await made.client.post("/engines/start", json={})
        await made.until_state("ready")
        assert made.engine.loaded


async def test_idle_engine_that_can_sleeps_and_is_proven_when_it_wakes(tmp_path: Path) -> None:
    async with timed_plant(tmp_path, PlantOptions(base={"idle_unload": 0.1}, can_sleep=True)) as made:
        await made.until_state("ready")
        first = made.engine.pid
        await made.until_state("sleeping")
        await made.client.post("/engines/start", json={})
        await made.until_state("ready")
        assert made.engine.pid == first
        assert made.engine.loaded


async def test_what_was_removed_while_an_engine_slept_is_gone_when_it_wakes(tmp_path: Path) -> None:
    options = PlantOptions(base={"idle_unload": 0.1}, can_sleep=True, tasks={"naming": "one", "other": "o"})
    async with timed_plant(tmp_path, options) as made:
        await made.until_state("sleeping")
        assert (await made.client.delete("/adapters/other")).status_code == 200
        await made.until(lambda: not made.snapshot.retiring)
        await made.client.post("/engines/start", json={})
        await made.until_state("ready")
        assert [one for one in served_models(made.engine.url) if one.startswith("other@")] == []


async def test_engine_that_slept_longer_than_a_start_may_take_wakes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slept_s = 0.0

    class Clock:
        time = staticmethod(time.time)

        @staticmethod
        def monotonic() -> float:
            return time.monotonic() + slept_s

    monkeypatch.setattr(managed, "time", Clock)
    async with timed_plant(tmp_path, PlantOptions(base={"idle_unload": 0.1}, can_sleep=True)) as made:
        await made.until_state("sleeping")
        first = made.engine.pid
        slept_s = 10 * made.supervisor.config.engine.start_timeout_s
        await made.client.post("/engines/start", json={})
        await made.until_state("ready")
        assert (made.engine.pid, made.engine.restarts, made.engine.reason) == (first, 0, "")


async def test_gateway_with_a_request_in_flight_keeps_the_engine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("launch.supervisor.supervisor.TICK_S", 0.02)
    async with timed_plant(tmp_path, PlantOptions(base={"idle_unload": 0.1})) as made:
        await made.until_state("ready")
        async with made.listened_to():
            report = {"gateway": "g1", "version": 1, "in_flight": 1}
            await made.client.post("/gateways", json=report)
            looks = calls(made.supervisor.gateways, "idle_s")
            await made.until(lambda: len(looks) == 3)
            assert (looks, made.engine.state) == ([0.0] * 3, "ready")
        await made.until_state("stopped")


async def test_one_of_several_drains_when_its_own_requests_have_ended(tmp_path: Path) -> None:
    async with timed_plant(tmp_path, PlantOptions(replicas=2)) as made:
        first, second = made.supervisor.engines.keepers
        await made.until(lambda: first.ready and second.ready)
        assert (tmp_path / "state" / "engine-1.pid").exists()
        assert (tmp_path / "state" / "engine-1.log").exists()
        async with made.listened_to():
            busy = {"gateway": "g1", "version": made.snapshot.version + 99, "in_flight": 5}
            await made.client.post("/gateways", json={**busy, "draining": {"engine-1": 1}})
            second.idle()
            await made.until(lambda: second.status.state == "draining")
            assert second.status.pid
            await made.client.post("/gateways", json=busy)
            await made.until(lambda: second.status.state == "stopped")
            assert first.ready
            await made.client.post("/engines/start", json={})
            await made.until(lambda: second.ready)


class Late(LocalEngine):
    """It has no place before `there`."""

    here = False
    there = False
    released = False
    left: list[Late] = []

    @property
    def pid(self) -> int:
        return super().pid if Late.there else 0

    def leave(self) -> None:
        Late.left.append(self)

    def release(self) -> None:
        Late.released = True


def late(command: EngineCommand) -> Begin:
    def begin(on_line: Callable[[str], None], shown: Callable[[str], bool]) -> EngineChild:
        return Late(Child(command.argv, os.environ, on_line=on_line, shown=shown))

    return begin


async def test_an_engine_elsewhere_is_served_once_it_has_a_place_and_released_at_its_end(
    tmp_path: Path,
) -> None:
    async with timed_plant(tmp_path, PlantOptions(elsewhere=late)) as made:
        await made.until(lambda: made.engine.stage == "waiting for a place")
        assert (made.engine.state, made.engine.pid) == ("starting", 0)
        Late.there = True
        await made.until_state("ready")
        assert made.engine.pid
        assert not (tmp_path / "state" / "engine-0.pid").exists()
        assert not Late.released
    assert Late.released


async def test_an_engine_elsewhere_goes_on_where_another_control_plane_has_it(tmp_path: Path) -> None:
    Late.there, Late.released = True, False
    Late.left.clear()
    async with timed_plant(tmp_path, PlantOptions(elsewhere=late)) as made:
        await made.until_state("ready")
        made.supervisor.engines.halt(leave=True)
        await made.until_state("stopped")
        (one,) = Late.left
        assert (one.exit_code(), Late.released) == (None, False)
        one.stop(0, lambda: True)
