"""A stack that Python starts, with a program in vLLM's place: it ends with its process, however that ends."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from gateway.client import AlreadyConfigured, InvalidArgument, ModelManager, StackFailed
from gateway.client.stack.stack import differences
from gateway.config.snapshot import read_snapshot
from launch.bench.faults.recovery_kills import is_alive
from tests.fakes.fake_stack import fake_config
from tests.support.waiting import until

ROOT = Path(__file__).parents[5]
LIMIT_S = 60.0
FREE_MEMORY = (
    "ValueError: Free memory on device cuda:0 (26.1/47.5 GiB) on startup is less than desired GPU memory "
    "utilization (0.75, 35.65 GiB)."
)


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A working directory without a `.env`, and no variable of the machine's."""
    monkeypatch.chdir(tmp_path)
    for name in [*os.environ]:
        if name.startswith("LORA_GATEWAY_URL") or name.endswith("_ADAPTER_PATH"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("LORA_GATEWAY_DEVICE", "cpu")


def arguments_of(folder: Path, *fake: str, **engine: Any) -> dict[str, Any]:
    """What `configure_models` takes for the fake engine's configuration."""
    config = fake_config(folder, fake, **engine)
    return {
        "base_model_path": config.base.model,
        "naming_adapter_path": folder / "naming",
        "engine": config.engine.model_dump(mode="json"),
        "gateway": {"shutdown_timeout_s": 2},
        "pipelines": {},
        "state_dir": folder / "state",
        "progress": None,
    }


def engine_pid(folder: Path) -> int:
    snapshot = read_snapshot(folder / "state" / "engine.json")
    return snapshot.engines[0].pid if snapshot is not None and snapshot.engines else 0


@contextmanager
def managing() -> Iterator[ModelManager]:
    manager = ModelManager()
    try:
        yield manager
    finally:
        manager.close()


def test_stack_is_started_answers_is_joined_and_ends(tmp_path: Path) -> None:
    arguments = arguments_of(tmp_path)
    said: list[str] = []
    with managing() as manager, managing() as second:
        manager.configure_models_sync(**arguments | {"progress": said.append})
        with manager.use_model("naming") as model:
            assert model.generate_text("p").startswith("naming@")
        assert (tmp_path / "state").stat().st_mode & 0o777 == 0o700
        status = manager.get_model_status_sync("base")
        assert status["status"] == "ready"
        assert status["use_count"] == 1
        assert status["memory_on"] == "host"
        assert status["memory_bytes"]
        assert said[-1].startswith(f"ready on {manager.url} (base, naming")
        pid = engine_pid(tmp_path)
        manager.configure_models_sync(**arguments)
        assert engine_pid(tmp_path) == pid
        with pytest.raises(AlreadyConfigured, match=r"base.max_loras: None → 2"):
            manager.configure_models_sync(**arguments, max_loras=2)
        with pytest.raises(AlreadyConfigured, match=r"other settings \(base.max_loras: None → 2\) runs on"):
            second.configure_models_sync(**arguments, max_loras=2)
        second.configure_models_sync(**arguments)
        assert second.url == manager.url
        second.close()
        assert is_alive(pid)
        second.configure_models_sync(**arguments)
        manager.close()
        assert not is_alive(pid)
        second.configure_models_sync(**arguments)  # what it had joined is gone, so it starts its own
        assert is_alive(engine_pid(tmp_path))
        assert engine_pid(tmp_path) != pid


PROGRAM = """
import json, sys, time
from gateway.client import get_model_manager
manager = get_model_manager()
manager.configure_models_sync(**json.loads(sys.argv[1]), progress=None)
print(manager.url, flush=True)
input()
"""


def started(arguments: dict[str, Any]) -> subprocess.Popen[bytes]:
    """A Python of its own that has started a stack and waits."""
    given = json.dumps({key: value for key, value in arguments.items() if key != "progress"}, default=str)
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", PROGRAM, given]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=env)
    assert process.stdout is not None
    assert process.stdout.readline().startswith(b"http://")
    return process


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT, 0])
def test_nothing_outlives_the_process_that_started_it(tmp_path: Path, number: int) -> None:
    process = started(arguments_of(tmp_path))
    pid = engine_pid(tmp_path)
    assert is_alive(pid)
    if number:
        process.send_signal(number)
        process.communicate()
    else:
        process.communicate(b"\n")  # it ends by itself
        assert process.returncode == 0
        assert not is_alive(pid)
    until(lambda: not is_alive(pid), 20)


def test_next_start_waits_for_the_end_of_a_killed_ones(tmp_path: Path) -> None:
    arguments = arguments_of(tmp_path)
    process = started(arguments)
    process.kill()
    process.communicate()
    with managing() as manager:
        manager.configure_models_sync(**arguments)
        with manager.use_model("naming") as model:
            assert model.generate_text("p").startswith("naming@")


def test_engine_that_has_no_memory_passes_its_advice_on(tmp_path: Path) -> None:
    arguments = arguments_of(tmp_path, "--fail", FREE_MEMORY, max_restarts=0)
    with (
        managing() as manager,
        pytest.raises(StackFailed, match=r"gpu_memory_utilization to 0.50 or less") as told,
    ):
        manager.configure_models_sync(**arguments, gpu_memory_utilization=0.75)
    assert "Free memory" in told.value.reason
    assert told.value.log.is_file()
    assert engine_pid(tmp_path) == 0


async def cancelled_start(folder: Path, arguments: dict[str, Any]) -> int:
    """The engine's process, once it was there."""
    begun = asyncio.Event()
    loop = asyncio.get_running_loop()

    def told(text: str) -> None:
        if "engine starting (" in text:
            loop.call_soon_threadsafe(begun.set)

    starting = asyncio.create_task(ModelManager().configure_models(**arguments | {"progress": told}))
    await begun.wait()
    until(lambda: engine_pid(folder) > 0)
    pid = engine_pid(folder)
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    return pid


def test_start_that_is_cancelled_leaves_nothing(tmp_path: Path) -> None:
    assert not is_alive(asyncio.run(cancelled_start(tmp_path, arguments_of(tmp_path))))


def test_stack_that_was_started_otherwise_is_not_touched(tmp_path: Path) -> None:
    from launch.supervisor.lock import sole_launch

    arguments = arguments_of(tmp_path)
    with (
        sole_launch(tmp_path / "state"),
        managing() as manager,
        pytest.raises(AlreadyConfigured, match="url="),
    ):
        manager.configure_models_sync(**arguments)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"base_model_path": "./none"}, "base_model_path: none does not exist"),
        ({"naming_adapter_path": "/none"}, "naming_adapter_path: /none does not exist"),
        ({"env": {}}, "env: unknown argument"),
        ({"max_lora": 2}, "max_lora: unknown argument; did you mean 'max_loras'"),
        ({"gpu_memory_utilization": 1.5}, "base.gpu_memory_utilization: 1.5: Input should be less than"),
        ({"gateway": {"prot": 1}}, "gateway.prot: unknown key; did you mean 'port'"),
        ({"gateway": 1}, "gateway: give the section"),
        ({"url": "http://127.0.0.1:1"}, "url: is for a gateway that runs"),
        ({"base_model_path": None}, "base_model_path: is needed to start a stack with"),
        ({"auto_unload": "soon"}, "base.idle_unload"),
        ({"tasks": {"naming": {"sytem": "x"}}}, "tasks.naming.sytem: unknown key; did you mean 'system'"),
        ({"tasks": {"describe": {"system": "x"}}}, "tasks.describe.adapter: is required"),
    ],
)
def test_wrong_argument_is_told_before_anything_is_started(
    tmp_path: Path, changes: dict[str, Any], expected: str
) -> None:
    arguments = arguments_of(tmp_path) | changes
    with managing() as manager, pytest.raises(InvalidArgument) as told:
        manager.configure_models_sync(**arguments)
    assert str(told.value).startswith(expected)
    assert not (tmp_path / "state" / "stack.log").exists()


def test_differences_name_keys_and_values() -> None:
    old = {"base": {"model": "a", "x": 1}, "tasks": {"n": {"adapter": "/n"}}, "same": [1]}
    new = {"base": {"model": "b", "x": 1}, "tasks": {}, "same": [1]}
    assert differences(old, new) == "base.model: a → b, tasks.n: … → None"
