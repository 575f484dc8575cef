"""What runs beside the requests fails once, each in its turn: it is counted, and goes on."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from gateway.config.snapshot import EngineStatus, ShadowStatus, decode_snapshot
from gateway.routing.availability import Availability
from gateway.routing.replicas import Replicas
from launch.adapters.versions import Version
from launch.engine.attached import Attached
from launch.engine.managed import Managed
from launch.supervisor.control_server import ControlServer
from tests.fakes.plant import PlantOptions, timed_plant
from tests.support.batches.batch_stack import create, line, until
from tests.support.controlled import controlled
from tests.support.stack import TASKS, eventually, stack
from tests.unit.launch.engine.test_loaded_adapters import Engine, wanting

pytestmark = pytest.mark.anyio


def failing_once(patch: pytest.MonkeyPatch, target: object, name: str) -> Callable[[], bool]:
    """Replace a method by one that raises the first time; whether it has."""
    whole: Callable[..., Any] = getattr(target, name)
    failed = False

    def faulty(*arguments: Any, **options: Any) -> Any:
        nonlocal failed
        if not failed:
            failed = True
            raise ValueError(f"{name} fails once")
        return whole(*arguments, **options)

    patch.setattr(target, name, faulty)
    return lambda: failed


def counted(samples: dict[tuple[str, ...], float], task: str) -> float:
    return samples.get(("background_failures_total", f"task={task}"), 0.0)


async def test_reports_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with controlled(tmp_path) as c:
        await c.control.until_reported(lambda report: report.version == 1)
        failing_once(monkeypatch, c.stack.gateway.admission, "busy")
        await c.tell(retiring=["naming@cccccccccccc"])
        await c.control.until_reported(lambda report: report.version == 2)
        assert counted(c.stack.samples(), "follower.report") == 1


async def test_an_engine_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with controlled(tmp_path, "stopped", lazy=True) as c:
        failing_once(monkeypatch, Availability, "wants_start")
        asking = asyncio.create_task(c.stack.chat())
        await c.control.until(lambda: c.control.starts() == 1)
        await c.state("ready")
        assert (await asking).status_code == 200
        assert counted(c.stack.samples(), "follower.demand") == 1


async def test_a_file_that_cannot_be_followed_keeps_no_gateway_from_starting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing_once(monkeypatch, Replicas, "apply")
    async with controlled(tmp_path, None) as c:
        c.control.publish(decode_snapshot(b'{"version": 1}'), file=True)
    async with controlled(tmp_path) as c:
        assert (await c.stack.chat()).status_code == 200


async def test_shadows_are_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    candidate = ShadowStatus("naming@cccccccccccc", 1.0)
    async with controlled(tmp_path) as c:
        failing_once(monkeypatch, c.stack.gateway.shadow, "_adopt")
        await c.tell(shadow={"naming": candidate})
        await eventually(lambda: counted(c.stack.samples(), "shadow") == 1)
        await c.tell(shadow={"naming": candidate})
        await eventually(lambda: c.stack.gateway.shadow.candidates == {"naming": candidate})


async def test_batches_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with stack(tmp_path) as s:
        runner = s.gateway.batches.runner
        await eventually(lambda: runner.has_lease)
        failing_once(monkeypatch, runner, "_heed")
        batch = await create(s, [line(1)])
        assert (await until(s, batch, "completed"))["status"] == "completed"
        assert counted(s.samples(), "batches") == 1


async def test_an_idle_engine_is_let_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with timed_plant(tmp_path, PlantOptions(base={"idle_unload": 0.1})) as made:
        failing_once(monkeypatch, made.supervisor.gateways, "idle_s")
        await made.until_state("ready")
        await made.until_state("stopped")
        assert made.snapshot.faults == {"tick": 1}


async def test_a_changed_configuration_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("launch.supervisor.reload.LOOK_EVERY_S", 0.01)
    async with timed_plant(tmp_path) as made:
        failed = failing_once(monkeypatch, made.supervisor.reloading, "_look")
        await made.until(failed)
        made.options.tasks = {"naming": "one", "extra": "x"}
        (tmp_path / "config.yaml").write_text("changed")
        await made.until(lambda: "extra" in made.snapshot.tasks)
        assert made.snapshot.faults == {"reload": 1}


async def answered(client: httpx.AsyncClient, path: str) -> httpx.Response:
    answers: list[httpx.Response] = []

    async def answers_now() -> bool:
        # Whoever connects as the failed server is closed is cut off, not refused.
        with contextlib.suppress(httpx.NetworkError, httpx.RemoteProtocolError):
            answers.append(await client.get(path))
        return bool(answers)

    await eventually(answers_now, 10)
    return answers[0]


async def test_the_control_socket_is_there_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    failing_once(monkeypatch, ControlServer, "main_loop")
    async with timed_plant(tmp_path) as made:
        await made.until(lambda: made.snapshot.faults == {"socket": 1})
        assert (await answered(made.client, "/state")).json()["faults"] == {"socket": 1}
        await made.until_state("ready")


async def test_an_engine_whose_keeper_fails_is_started_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("launch.supervisor.supervisor.KEPT_AGAIN_S", 0.01)
    failing_once(monkeypatch, Managed, "_until_leaving")
    async with timed_plant(tmp_path) as made:
        await made.until(lambda: made.snapshot.faults == {"engine-0": 1})
        await made.until_state("ready")
        assert made.engine.loaded


async def test_the_control_planes_failures_are_in_the_gateways_metrics(tmp_path: Path) -> None:
    async with controlled(tmp_path) as c:
        await c.tell(faults={"tick": 2})
        text = (await c.get("/metrics")).text
        assert 'lora_gateway_background_failures_total{task="control.tick"} 2.0' in text
        assert f'adapter="{TASKS["naming"]}"' not in text


class Host:
    """What a keeper asks of its supervisor, of which this one knows nothing."""

    config = SimpleNamespace(base=SimpleNamespace(name="base"))
    wanted_versions: tuple[Version, ...] = ()
    changes = 0

    def changed(self) -> None:
        self.changes += 1

    def fingerprint(self, adapter_id: str, build: str) -> None:
        return None

    def keep_fingerprint(self, adapter_id: str, build: str, canary: str) -> None:
        pass

    def system_of(self, version: Version) -> str:
        return ""


async def test_unloading_does_not_take_an_attached_engine_out_of_service() -> None:
    """It is looked at when the adapter is gone from it, and the answer to that still on its way."""
    unloading, goes_on = threading.Event(), threading.Event()

    class Slow(Engine):
        def _unload(self, name: str) -> None:
            super()._unload(name)
            unloading.set()
            assert goes_on.wait(10)

    engine = Slow(4, last_slot=False)
    calls = engine.calls()
    host: Any = Host()
    status = EngineStatus("engine-0", "http://engine", state="ready", managed=False)
    keeper = Attached(host, status, "build", calls)
    keeper.adapters.begin()
    keeper.adapters.ensure(wanting("/near"))
    removing = asyncio.create_task(keeper.unload("near@1"))
    await asyncio.to_thread(unloading.wait, 10)
    looking = asyncio.create_task(keeper._look())
    await asyncio.wait((looking,), timeout=0.1)  # what it does too early, it does by then
    goes_on.set()
    await asyncio.gather(removing, looking)
    assert keeper.status.state == "ready"
    assert host.changes == 0
