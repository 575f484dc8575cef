"""The control plane as a whole: what is kept over its lives, and configurations that change."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import Callable, Collection
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from gateway.config.snapshot import SOCKET
from launch.adapters.store import AdapterStore
from launch.adapters.versions import Version
from launch.engine.http import served_models
from launch.supervisor.database import StateStore
from launch.supervisor.publisher import LIVES_FROM
from tests.fakes.plant import Plant, PlantOptions, Unchecked, timed_plant

pytestmark = pytest.mark.anyio


def weights(made: Plant, task: str = "naming") -> dict[str, float]:
    return {version.id: version.weight for version in made.snapshot.tasks[task].versions}


async def test_changes_survive_the_control_plane(tmp_path: Path) -> None:
    options = PlantOptions(tasks={"naming": "one", "other": "o"})
    async with timed_plant(tmp_path, options) as made:
        await made.until_state("ready")
        assert (await made.add("naming", "two", canary=25.0)).status_code == 200
        assert (await made.add("extra", "x")).status_code == 200
        assert (await made.client.delete("/adapters/other")).status_code == 200
    async with timed_plant(tmp_path, options) as made:
        await made.until_state("ready")
        assert sorted(weights(made).values()) == [25.0, 75.0]
        assert set(made.snapshot.tasks) == {"naming", "extra"}
        assert len(made.engine.loaded) == 3
        changes = {
            change["task"]: change for change in (await made.client.get("/tasks/diff")).json()["changes"]
        }
        assert set(changes) == {"naming", "extra", "other"}
        assert changes["extra"]["configured"] is None
        assert changes["other"]["wanted"] is None
        for task in ("naming", "other"):
            assert (await made.client.post(f"/tasks/{task}/reset")).status_code == 200
        assert list(weights(made).values()) == [100.0]
        assert "other" in made.snapshot.tasks


async def test_what_commands_added_is_read_again_beside_the_event_loop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of large adapters that takes longer than a leader may be silent."""
    verified: list[tuple[str, bool]] = []

    def verify(_: AdapterStore, adapter_id: str) -> bool:
        verified.append((adapter_id, threading.current_thread() is threading.main_thread()))
        return adapter_id.startswith("good@")

    monkeypatch.setattr(Unchecked, "verify", verify)

    options = PlantOptions(tasks={})
    async with timed_plant(tmp_path, options) as made:
        await made.until_state("ready")
        for name in ("good", "bad"):
            assert (await made.add(name, name)).status_code == 200
    verified.clear()
    async with timed_plant(tmp_path, options) as made:
        await made.until_state("ready")
        states = {name: task.versions[0].state for name, task in made.snapshot.tasks.items()}
        assert states == {"good": "ready", "bad": "failed"}
    assert [(one.partition("@")[0], blocks) for one, blocks in sorted(verified)] == [
        ("bad", False),
        ("good", False),
    ]


async def version_once_ready(folder: Path) -> int:
    async with timed_plant(folder) as made:
        await made.until_state("ready")
        return made.snapshot.version


async def test_version_numbers_grow_over_lives(tmp_path: Path) -> None:
    assert await version_once_ready(tmp_path) < await version_once_ready(tmp_path)


async def test_version_numbers_grow_though_the_state_was_moved_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Redis and gateways elsewhere take none that is older than what they have."""
    versions: list[int] = []
    for folder, later_s in (("before", 0), ("after", 1)):
        (tmp_path / folder).mkdir()
        monkeypatch.setattr("launch.supervisor.publisher.LIVES_FROM", LIVES_FROM - 1000 * later_s)
        versions.append(await version_once_ready(tmp_path / folder))
    assert versions[0] < versions[1] < 2**53


async def test_one_that_another_has_followed_changes_nothing_and_ends(tmp_path: Path) -> None:
    async with timed_plant(tmp_path) as made:
        await made.until_state("ready")
        with closing(StateStore(made.folder / "state")) as later:
            later.next_life()
            before = later.changes()
            refused = await made.client.post("/keys", json={"name": "late"})
            assert (refused.status_code, refused.json()["error"]["code"]) == (503, "control_plane_elsewhere")
            await made.until(lambda: made.supervisor.is_outlived)
            assert later.changes() == before
            assert later.api_keys() == []


async def test_reload_loads_what_is_new_and_says_what_waits(tmp_path: Path) -> None:
    async with timed_plant(tmp_path) as made:
        await made.until_state("ready")
        made.options.tasks = {"naming": "two", "extra": "x"}
        made.options.base = {"max_model_len": 99}
        done = (await made.client.post("/reload")).json()
        assert done["tasks_added"] == ["extra"]
        assert done["at_next_start"] == ["base.max_model_len"]
        assert all(
            version.state == "ready" for task in made.snapshot.tasks.values() for version in task.versions
        )


async def test_reload_is_refused_whole(tmp_path: Path) -> None:
    async with timed_plant(tmp_path, PlantOptions(arguments=("--effectless", "extra-idle"))) as made:
        await made.until_state("ready")
        before = made.snapshot.tasks
        made.options.tasks = {"naming": "two", "extra": "idle"}
        refused = await made.client.post("/reload")
        assert refused.status_code == 400
        assert "tasks.extra.adapter" in refused.json()["error"]["message"]
        assert made.snapshot.tasks == before
        await made.until(lambda: not made.snapshot.retiring)
        assert made.engine.loaded == [version.id for version in before["naming"].versions]


async def test_an_adapter_that_comes_back_while_it_leaves_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is loaded still, and would be unloaded and its copy removed before the reload is through."""
    async with timed_plant(tmp_path) as made:
        await made.until_state("ready")
        (first,) = weights(made)
        engines, loading, goes_on = made.supervisor.engines, asyncio.Event(), asyncio.Event()
        load = engines.load

        async def slowly(version: Version, *given: Any, **named: Any) -> None:
            if version.id.startswith("extra@"):
                loading.set()
                await goes_on.wait()
            await load(version, *given, **named)

        monkeypatch.setattr(engines, "load", slowly)
        async with made.listened_to():
            made.options.tasks = {"naming": "two"}
            changing = asyncio.create_task(made.client.post("/reload"))
            await made.until(lambda: made.snapshot.retiring == [first])
            busy = {"gateway": "g1", "version": made.snapshot.version + 10, "busy": [first]}
            await made.client.post("/gateways", json=busy)
            assert (await changing).status_code == 200
            made.options.tasks = {"naming": "one", "extra": "x"}
            changing = asyncio.create_task(made.client.post("/reload"))
            await loading.wait()
            await made.client.post("/gateways", json={**busy, "busy": []})
            leaving = made.supervisor._upkeep._tasks
            await made.until(lambda: all(task.get_name() != "unload" for task in leaving))
            goes_on.set()
            assert (await changing).status_code == 200
        assert first in made.engine.loaded
        assert first not in made.adapters.removed
        assert weights(made) == {first: 100.0}


async def test_reload_while_an_engine_proves_its_adapters_is_not_lost_on_it(tmp_path: Path) -> None:
    async with timed_plant(tmp_path, PlantOptions(arguments=("--hang", "naming"))) as made:
        await made.until(lambda: made.engine.stage.startswith("proving naming"))
        made.options.tasks = {"naming": "two", "extra": "x"}
        assert (await made.client.post("/reload")).status_code == 200
        await made.fake(hang=False)
        await made.until_state("ready")
        assert made.engine.loaded == sorted({**made.versions("naming"), **made.versions("extra")})


async def test_reload_while_an_engine_drains_is_not_lost_on_it(tmp_path: Path) -> None:
    async with timed_plant(tmp_path) as made:
        await made.until_state("ready")
        async with made.listened_to():
            await made.client.post("/gateways", json={"gateway": "g1", "version": 0, "in_flight": 1})
            made.supervisor.engines.keepers[0].idle()
            await made.until_state("draining")
            made.options.tasks = {"naming": "one", "extra": "x"}
            assert (await made.client.post("/reload")).status_code == 200
            await made.client.post("/engines/start", json={})
            await made.until_state("ready")
            assert made.engine.loaded == sorted({**made.versions("naming"), **made.versions("extra")})


async def test_reload_leaves_an_engine_stopped_that_nobody_has_asked_for(tmp_path: Path) -> None:
    async with timed_plant(tmp_path, PlantOptions(base={"start": "lazy"})) as made:
        made.options.tasks = {"naming": "two"}
        for _ in range(2):
            assert (await made.client.post("/reload")).status_code == 200
        assert made.engine.state == "stopped"


async def test_a_reload_by_signal_does_not_hold_up_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loading = asyncio.Event()

    async def for_ever() -> None:
        loading.set()
        await asyncio.Event().wait()

    async with timed_plant(tmp_path, PlantOptions(base={"start": "lazy"})) as made:
        monkeypatch.setattr(made.supervisor.reloading, "try_reload", for_ever)
        made.stop.reload = True
        await loading.wait()
        made.stop.count = 1
        await made.until(lambda: not (tmp_path / "state" / SOCKET).exists())


async def test_a_reload_waits_for_a_command_that_goes_by_what_it_takes_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The version that keeps most requests would be unloaded while its canary loads, its copy removed."""
    async with timed_plant(tmp_path) as made:
        await made.until_state("ready")
        engines, changes = made.supervisor.engines, made.supervisor.changes
        load, loading, goes_on = engines.load, asyncio.Event(), asyncio.Event()

        async def slowly(*given: Any, **named: Any) -> None:
            loading.set()
            await goes_on.wait()
            await load(*given, **named)

        monkeypatch.setattr(engines, "load", slowly)
        adding = asyncio.create_task(made.add("naming", "two", canary=10))
        await loading.wait()
        monkeypatch.setattr(engines, "load", load)
        made.options.tasks = {"naming": "three"}
        reloading = asyncio.create_task(made.client.post("/reload"))
        await made.until(lambda: reloading.done() or bool(changes._locks["naming"]._waiters))
        await made.until(lambda: not made.snapshot.retiring)
        goes_on.set()
        assert [(await one).status_code for one in (adding, reloading)] == [200, 200]
        await made.until(lambda: not made.snapshot.retiring)
        assert sorted(weights(made).values()) == [10.0, 90.0]
        assert set(made.engine.loaded) == set(weights(made))
        assert not set(weights(made)) & set(made.adapters.removed)


async def test_what_leaves_again_waits_for_gateways_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that has heard that it is wanted after all, and no more, may send requests to it."""
    monkeypatch.setattr("launch.supervisor.control_api.TOLD_WITHIN_S", 0.0)
    monkeypatch.setattr("launch.supervisor.supervisor.NO_GATEWAY_GRACE_S", 0.0)

    async with timed_plant(tmp_path) as made:
        await made.until_state("ready")
        (first,) = weights(made)
        async with made.listened_to():
            await made.client.delete("/adapters/naming")
            await made.client.post("/tasks/naming/reset")
            between = made.snapshot.version
            await made.client.delete("/adapters/naming")
            await made.client.post("/gateways", json={"gateway": "g1", "version": between})
            leaving = made.supervisor._upkeep._tasks
            await made.until(lambda: [one.get_name() for one in leaving].count("unload") == 1)
            assert made.snapshot.retiring == [first]
            await made.client.post("/gateways", json={"gateway": "g1", "version": between + 10})
            await made.until(lambda: not made.snapshot.retiring)
        assert made.engine.loaded == []


async def test_one_that_is_added_while_it_is_unloaded_is_wanted_by_then(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An engine that has it still is not asked to load it, and must not be asked to unload it after that."""
    async with timed_plant(tmp_path) as made:
        await made.until_state("ready")
        (first,) = weights(made)
        seen: list[Collection[str]] = []

        async def slowly(_: str, wanted: Callable[[], Collection[str]]) -> None:
            seen.append(wanted())
            assert (await made.add("naming", "one")).status_code == 200
            seen.append(wanted())

        monkeypatch.setattr(made.supervisor.engines, "unload", slowly)
        assert (await made.client.delete("/adapters/naming")).status_code == 200
        await made.until(lambda: len(seen) == 2)
        assert seen == [set(), {first}]
        assert weights(made) == {first: 100.0}


async def test_the_base_cannot_have_the_name_of_a_task_that_a_command_added(tmp_path: Path) -> None:
    async with timed_plant(tmp_path) as made:
        await made.until_state("ready")
        assert (await made.add("extra", "x")).status_code == 200
        before = made.snapshot
        made.options.base = {"name": "extra"}
        refused = await made.client.post("/reload")
        assert refused.status_code == 400
        assert "adapters remove extra" in refused.json()["error"]["message"]
        assert (made.snapshot.base, made.snapshot.tasks) == (before.base, before.tasks)


async def test_what_is_configured_no_more_leaves_no_copy_though_a_command_replaced_it(tmp_path: Path) -> None:
    async with timed_plant(tmp_path) as made:
        await made.until_state("ready")
        (first,) = weights(made)
        for content in ("two", "three"):  # the one before stays, for a rollback
            assert (await made.add("naming", content)).status_code == 200
        await made.until(lambda: not made.snapshot.retiring)
        assert made.adapters.removed == []
        made.options.tasks = {"naming": "other"}
        assert (await made.client.post("/reload")).status_code == 200
        await made.until(lambda: made.adapters.removed == [first])


async def test_a_changed_file_is_taken_though_the_engine_died_over_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("launch.supervisor.reload.LOOK_EVERY_S", 0.01)
    options = PlantOptions(arguments=("--hang", "extra"), engine={"restart_backoff_s": 0.5})
    async with timed_plant(tmp_path, options) as made:
        await made.until_state("ready")
        made.options.tasks = {"naming": "one", "extra": "x"}
        (tmp_path / "config.yaml").touch()
        await made.until(lambda: any(one.startswith("extra@") for one in served_models(made.engine.url)))
        os.kill(made.engine.pid, signal.SIGKILL)
        await made.until(lambda: "extra" in made.snapshot.tasks)
