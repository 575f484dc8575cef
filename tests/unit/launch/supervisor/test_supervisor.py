"""The control plane as a whole: engines that fail and come back, adapters that come and go."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path

import pytest

from gateway.config.snapshot import decode_snapshot
from launch.engine import managed
from launch.engine.scoring import ProofScores
from launch.supervisor.database import StateStore
from tests.fakes.plant import BUILD, Plant, PlantOptions, adapter_folder, free_port, plant
from tests.support.waiting import calls

Work = Callable[[Plant], Awaitable[None]]


def run(folder: Path, work: Work, options: PlantOptions | None = None) -> None:
    async def main() -> None:
        async with asyncio.timeout(60), plant(folder, options) as made:
            await work(made)

    asyncio.run(main())


def weights(made: Plant, task: str = "naming") -> dict[str, float]:
    return {version.id: version.weight for version in made.snapshot.tasks[task].versions}


def test_engine_is_ready_once_its_adapters_are_proven(tmp_path: Path) -> None:
    async def work(made: Plant) -> None:
        await made.until_state("ready")
        (naming,) = made.snapshot.tasks["naming"].versions
        assert made.engine.loaded == [naming.id]
        assert (naming.state, len(naming.fingerprint)) == ("ready", 12)
        await made.until(lambda: made.on_disk.engines[0].state == "ready")  # published at the turn's end

    run(tmp_path, work)


def test_answers_that_an_earlier_release_kept_are_measured_anew(tmp_path: Path) -> None:
    async def prove(made: Plant) -> None:
        await made.until_state("ready")
        proven.append(made.engine.loaded[0])

    def kept() -> str:
        with closing(StateStore(tmp_path / "state")) as store:
            return store.fingerprint(proven[0], BUILD) or ""

    proven: list[str] = []
    run(tmp_path, prove)
    with closing(StateStore(tmp_path / "state")) as store:
        store.keep_fingerprint(proven[0], BUILD, '{"tokens": [" a"], "logprobs": [-9.5]}')
    run(tmp_path, prove)
    assert proven[0] == proven[1]
    assert ProofScores.from_json(kept()) is not None


def test_state_file_and_socket_are_the_owners_alone(tmp_path: Path) -> None:
    async def work(made: Plant) -> None:
        for name in ("engine.json", "control.sock"):
            assert (tmp_path / "state" / name).stat().st_mode & 0o077 == 0

    run(tmp_path, work)


def test_killed_engine_comes_back_with_every_adapter(tmp_path: Path) -> None:
    async def work(made: Plant) -> None:
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

    run(tmp_path, work)


@pytest.mark.parametrize(("how", "blame"), [(signal.SIGSEGV, "request"), (signal.SIGKILL, "nobody")])
def test_a_death_is_told_with_the_process_and_who_may_have_done_it(
    tmp_path: Path, how: signal.Signals, blame: str
) -> None:
    async def work(made: Plant) -> None:
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

    run(tmp_path, work)


def test_hanging_engine_is_killed_and_restarted(tmp_path: Path) -> None:
    async def work(made: Plant) -> None:
        await made.until_state("ready")
        first = made.engine.pid
        await made.fake(hang=True)
        await made.until(lambda: made.engine.kind == "hang")
        await made.until(lambda: made.engine.state == "ready" and made.engine.pid != first)

    run(tmp_path, work, PlantOptions(engine={"hang_timeout_s": 0.4}))


def test_stopped_process_is_a_hang(tmp_path: Path) -> None:
    async def work(made: Plant) -> None:
        await made.until_state("ready")
        os.kill(made.engine.pid, signal.SIGSTOP)
        await made.until(lambda: made.engine.kind == "hang")
        await made.until_state("ready")

    run(tmp_path, work, PlantOptions(engine={"hang_timeout_s": 0.4}))


def test_restarts_are_bounded_and_the_control_plane_goes_on(tmp_path: Path) -> None:
    async def work(made: Plant) -> None:
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

    run(
        tmp_path,
        work,
        PlantOptions(arguments=("--fail", "it is broken"), engine={"max_restarts": 2}),
    )


def test_setting_that_cannot_work_is_not_tried_again(tmp_path: Path) -> None:
    async def work(made: Plant) -> None:
        await made.until(lambda: made.engine.state == "failed")
        assert (made.engine.kind, made.engine.next_try_at) == ("configuration", None)

    run(tmp_path, work, PlantOptions(arguments=("--nonsense",)))


def test_lazy_engine_waits_for_somebody(tmp_path: Path) -> None:
    async def work(made: Plant) -> None:
        await asyncio.sleep(0)
        assert (made.engine.state, made.engine.lazy) == ("stopped", True)
        for _ in range(2):
            assert (await made.client.post("/engines/start", json={})).status_code == 202
        await made.until_state("ready")
        assert made.engine.load_s is not None

    run(tmp_path, work, PlantOptions(base={"start": "lazy"}))


def test_idle_engine_is_drained_and_stopped_and_starts_again(tmp_path: Path) -> None:
    async def work(made: Plant) -> None:
        await made.until_state("ready")
        await made.until_state("stopped")
        assert made.engine.loaded == []
        await made.client.post("/engines/start", json={})
        await made.until_state("ready")
        assert made.engine.loaded

    run(tmp_path, work, PlantOptions(base={"idle_unload": 0.1}))


def test_idle_engine_that_can_sleeps_and_is_proven_when_it_wakes(tmp_path: Path) -> None:
    async def work(made: Plant) -> None:
        await made.until_state("ready")
        first = made.engine.pid
        await made.until_state("sleeping")
        await made.client.post("/engines/start", json={})
        await made.until_state("ready")
        assert made.engine.pid == first
        assert made.engine.loaded

    run(tmp_path, work, PlantOptions(base={"idle_unload": 0.1}, can_sleep=True))


def test_engine_that_slept_longer_than_a_start_may_take_wakes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slept_s = 0.0

    class Clock:
        time = staticmethod(time.time)

        @staticmethod
        def monotonic() -> float:
            return time.monotonic() + slept_s

    async def work(made: Plant) -> None:
        nonlocal slept_s
        await made.until_state("sleeping")
        first = made.engine.pid
        slept_s = 10 * made.supervisor.config.engine.start_timeout_s
        await made.client.post("/engines/start", json={})
        await made.until_state("ready")
        assert (made.engine.pid, made.engine.restarts, made.engine.reason) == (first, 0, "")

    monkeypatch.setattr(managed, "time", Clock)
    run(tmp_path, work, PlantOptions(base={"idle_unload": 0.1}, can_sleep=True))


def test_gateway_with_a_request_in_flight_keeps_the_engine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("launch.supervisor.supervisor.TICK_S", 0.02)

    async def work(made: Plant) -> None:
        await made.until_state("ready")
        async with made.client.stream("GET", "/events", params={"gateway": "g1"}) as events:
            lines = events.aiter_lines()  # to be kept: with it the stream would end
            await anext(lines)
            report = {"gateway": "g1", "version": 1, "in_flight": 1}
            await made.client.post("/gateways", json=report)
            looks = calls(made.supervisor.gateways, "idle_s")
            await made.until(lambda: len(looks) == 3)
            assert (looks, made.engine.state) == ([0.0] * 3, "ready")
        await made.until_state("stopped")

    run(tmp_path, work, PlantOptions(base={"idle_unload": 0.1}))


def test_added_adapter_is_loaded_proven_and_routed(tmp_path: Path) -> None:
    async def work(made: Plant) -> None:
        await made.until_state("ready")
        answer = await made.add("naming", "two")
        assert answer.status_code == 200
        added = answer.json()["id"]
        old = next(id for id in weights(made) if id != added)
        assert weights(made) == {old: 0.0, added: 100.0}
        assert set(made.engine.loaded) == {old, added}
        assert made.snapshot.tasks["naming"].previous == old
        assert (await made.client.post("/adapters/naming/rollback")).status_code == 200
        assert weights(made) == {old: 100.0, added: 0.0}

    run(tmp_path, work)


def test_new_task_by_command_carries_its_system_prompt(tmp_path: Path) -> None:
    async def work(made: Plant) -> None:
        await made.until_state("ready")
        assert (await made.add("relation", "r", system="Relate.")).status_code == 200
        status = made.snapshot.tasks["relation"]
        assert (status.settings["system"], status.configured) == ("Relate.", False)

    run(tmp_path, work)


def test_adapter_that_acts_under_its_system_prompt_alone_can_be_added_with_it(tmp_path: Path) -> None:
    async def work(made: Plant) -> None:
        await made.until_state("ready")
        assert "has no effect" in (await made.add("relation", "r")).text
        assert (await made.add("relation", "r", system="Relate.")).status_code == 200

    run(tmp_path, work, PlantOptions(arguments=("--only-under", "Relate."), tasks={}))


def test_adapter_without_effect_is_refused_and_nothing_changes(tmp_path: Path) -> None:
    async def work(made: Plant) -> None:
        await made.until_state("ready")
        before = made.snapshot.tasks, made.engine.loaded
        refused = await made.add("naming", "idle")
        assert refused.status_code == 400
        assert "has no effect" in refused.json()["error"]["message"]
        await made.until(lambda: not made.snapshot.retiring)
        assert (made.snapshot.tasks, made.engine.loaded) == before

    run(tmp_path, work, PlantOptions(arguments=("--effectless", "naming-idle")))


def test_copy_of_an_adapter_that_its_task_cannot_take_is_removed(tmp_path: Path) -> None:
    async def work(made: Plant) -> None:
        await made.until_state("ready")
        await made.add("naming", "two", canary=10)
        refused = await made.add("naming", "three")
        assert "has the candidate" in refused.json()["error"]["message"]
        await made.until(lambda: len(made.adapters.removed) == 1)
        assert made.adapters.removed[0] not in made.versions()

    run(tmp_path, work)


def test_one_bad_adapter_does_not_keep_the_others_from_being_served(tmp_path: Path) -> None:
    async def work(made: Plant) -> None:
        await made.until_state("ready")
        (bad,), (good,) = made.versions("idle").values(), made.versions("naming").values()
        assert (bad.state, good.state) == ("failed", "ready")
        assert "has no effect" in bad.reason

    tasks = {"idle": "x", "naming": "one"}
    run(tmp_path, work, PlantOptions(arguments=("--effectless", "idle-x"), tasks=tasks))


def test_old_version_is_unloaded_once_no_gateway_needs_it(tmp_path: Path) -> None:
    async def work(made: Plant) -> None:
        await made.until_state("ready")
        (first,) = weights(made)
        async with made.client.stream("GET", "/events", params={"gateway": "g1"}) as events:
            lines = events.aiter_lines()  # to be kept: with it the stream would end
            await anext(lines)
            await made.add("naming", "two")
            await made.add("naming", "three")  # the first is not even the one before any more
            assert made.snapshot.retiring == [first]
            busy = {"gateway": "g1", "version": made.snapshot.version + 10, "busy": [first]}
            looks = calls(made.supervisor.gateways, "released")
            await made.client.post("/gateways", json=busy)
            await made.until(lambda: bool(looks))
            await made.client.post("/gateways", json=busy)
            await made.until(lambda: len(looks) > 1)
            assert not any(looks)
            assert first in made.engine.loaded
            await made.client.post("/gateways", json={**busy, "busy": []})
            await made.until(lambda: not made.snapshot.retiring)
        assert first not in made.engine.loaded
        assert made.adapters.removed == []  # the configuration names it still

    run(tmp_path, work)


def test_events_give_the_whole_state_at_once_and_at_each_change(tmp_path: Path) -> None:
    async def work(made: Plant) -> None:
        await made.until_state("ready")
        async with made.client.stream("GET", "/events") as events:
            lines = events.aiter_lines()
            first = decode_snapshot(await anext(lines))
            adding = asyncio.create_task(made.add("naming", "two"))
            snapshot = first
            while len(snapshot.tasks["naming"].versions) < 2:
                line = await anext(lines)
                if line:
                    newer = decode_snapshot(line)
                    assert newer.version > snapshot.version
                    snapshot = newer
            await adding

    run(tmp_path, work)


def test_changes_survive_the_control_plane(tmp_path: Path) -> None:
    async def change(made: Plant) -> None:
        await made.until_state("ready")
        assert (await made.add("naming", "two", canary=25.0)).status_code == 200
        assert (await made.add("extra", "x")).status_code == 200
        assert (await made.client.delete("/adapters/other")).status_code == 200

    async def look(made: Plant) -> None:
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

    options = PlantOptions(tasks={"naming": "one", "other": "o"})
    run(tmp_path, change, options)
    run(tmp_path, look, options)


def test_version_numbers_grow_over_lives(tmp_path: Path) -> None:
    versions: list[int] = []

    async def work(made: Plant) -> None:
        await made.until_state("ready")
        versions.append(made.snapshot.version)

    run(tmp_path, work)
    run(tmp_path, work)
    assert versions[1] > versions[0]


def test_reload_loads_what_is_new_and_says_what_waits(tmp_path: Path) -> None:
    async def work(made: Plant) -> None:
        await made.until_state("ready")
        made.options.tasks = {"naming": "two", "extra": "x"}
        made.options.base = {"max_model_len": 99}
        done = (await made.client.post("/reload")).json()
        assert done["tasks_added"] == ["extra"]
        assert done["at_next_start"] == ["base.max_model_len"]
        assert all(
            version.state == "ready" for task in made.snapshot.tasks.values() for version in task.versions
        )

    run(tmp_path, work)


def test_reload_is_refused_whole(tmp_path: Path) -> None:
    async def work(made: Plant) -> None:
        await made.until_state("ready")
        before = made.snapshot.tasks
        made.options.tasks = {"naming": "two", "extra": "idle"}
        refused = await made.client.post("/reload")
        assert refused.status_code == 400
        assert "tasks.extra.adapter" in refused.json()["error"]["message"]
        assert made.snapshot.tasks == before
        await made.until(lambda: not made.snapshot.retiring)
        assert made.engine.loaded == [version.id for version in before["naming"].versions]

    run(tmp_path, work, PlantOptions(arguments=("--effectless", "extra-idle")))


def test_reload_while_an_engine_proves_its_adapters_is_not_lost_on_it(tmp_path: Path) -> None:
    async def work(made: Plant) -> None:
        await made.until(lambda: made.engine.stage.startswith("proving naming"))
        made.options.tasks = {"naming": "two", "extra": "x"}
        assert (await made.client.post("/reload")).status_code == 200
        await made.fake(hang=False)
        await made.until_state("ready")
        assert made.engine.loaded == sorted({**made.versions("naming"), **made.versions("extra")})

    run(tmp_path, work, PlantOptions(arguments=("--hang", "naming")))


def test_reload_while_an_engine_drains_is_not_lost_on_it(tmp_path: Path) -> None:
    async def work(made: Plant) -> None:
        await made.until_state("ready")
        async with made.client.stream("GET", "/events", params={"gateway": "g1"}) as events:
            lines = events.aiter_lines()  # to be kept: with it the stream would end
            await anext(lines)
            await made.client.post("/gateways", json={"gateway": "g1", "version": 0, "in_flight": 1})
            made.supervisor.engines.keepers[0].idle()
            await made.until_state("draining")
            made.options.tasks = {"naming": "one", "extra": "x"}
            assert (await made.client.post("/reload")).status_code == 200
            await made.client.post("/engines/start", json={})
            await made.until_state("ready")
            assert made.engine.loaded == sorted({**made.versions("naming"), **made.versions("extra")})

    run(tmp_path, work)


def test_reload_leaves_an_engine_stopped_that_nobody_has_asked_for(tmp_path: Path) -> None:
    async def work(made: Plant) -> None:
        made.options.tasks = {"naming": "two"}
        for _ in range(2):
            assert (await made.client.post("/reload")).status_code == 200
        assert made.engine.state == "stopped"

    run(tmp_path, work, PlantOptions(base={"start": "lazy"}))


def test_attached_engine_is_kept_in_step(tmp_path: Path) -> None:
    async def outer() -> None:
        (tmp_path / "a").mkdir()
        (tmp_path / "b").mkdir()
        async with asyncio.timeout(60), plant(tmp_path / "a", PlantOptions(tasks={})) as somebody:
            await somebody.until_state("ready")
            options = PlantOptions(attached=(somebody.engine.url,))
            async with plant(tmp_path / "b", options) as made:
                await made.until_state("ready")
                assert len(made.engine.loaded) == 1
                assert (await made.add("naming", "two")).status_code == 200
                before = made.engine.started_at
                os.kill(somebody.engine.pid, signal.SIGKILL)  # it comes back without any adapter
                # `failed` may be over between two looks; each new beginning has a time of its own.
                await made.until(lambda: made.engine.started_at > before and made.engine.state == "ready", 30)
                assert made.engine.last_death is not None
                assert made.engine.last_death.blame == "unknown"
                assert len(made.engine.loaded) == 2

    asyncio.run(outer())


def test_attached_engine_that_is_not_there_is_said_in_words(tmp_path: Path) -> None:
    url = f"http://127.0.0.1:{free_port()}"

    async def work(made: Plant) -> None:
        await made.until_state("failed")
        assert made.engine.reason == f"{url}/v1/models: connection refused"

    run(tmp_path, work, PlantOptions(attached=(url,)))


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "said"),
    [
        ("POST", "/adapters", b"{", 400, "is not JSON"),
        ("POST", "/adapters", b"[]", 400, "must be a JSON object"),
        ("POST", "/adapters", b'{"task": "../x", "source": "/x"}', 400, "letters, digits"),
        ("POST", "/adapters", b'{"task": "x"}', 400, "name a folder"),
        ("POST", "/adapters", b'{"task": "x", "source": "/x", "sauce": 1}', 400, "sauce: unknown field"),
        ("POST", "/adapters", b'{"task": "x", "source": "/x", "canary": 100}', 400, "over 0 and under 100"),
        ("POST", "/adapters", b'{"task": "base", "source": "/x"}', 400, "name of the base"),
        ("POST", "/adapters", b'{"task": "x", "source": "/etc"}', 400, "adapters.roots"),
        ("GET", "/adapters/nope", b"", 404, "There is no task 'nope'. Tasks: naming."),
        ("POST", "/adapters/nope/promote", b"", 404, "There is no task"),
        ("POST", "/adapters/naming/promote", b"", 409, "no candidate"),
        ("POST", "/adapters/naming/rollback", b"", 409, "no earlier version"),
        ("DELETE", "/adapters/naming?id=naming@9", b"", 404, "has no version"),
        ("POST", "/tasks/nope/reset", b"", 404, "There is no task"),
        ("POST", "/gateways", b'{"gateway": 1}', 400, "Expected `str`"),
    ],
)
def test_what_cannot_be_done_is_named(
    tmp_path: Path, method: str, path: str, body: bytes, status: int, said: str
) -> None:
    async def work(made: Plant) -> None:
        answer = await made.client.request(method, path, content=body)
        assert (answer.status_code, said in answer.text) == (status, True), answer.text

    run(tmp_path, work, PlantOptions(base={"start": "lazy"}))


def test_folder_that_changes_later_is_another_id(tmp_path: Path) -> None:
    async def work(made: Plant) -> None:
        await made.until_state("ready")
        first = (await made.add("naming", "two")).json()["id"]
        folder = adapter_folder(tmp_path / "adapters" / "naming-two", "other content")
        again = await made.client.post("/adapters", json={"task": "naming", "source": str(folder)})
        assert again.json()["id"] != first
        assert json.loads(again.text)["previous"] == first

    run(tmp_path, work)
