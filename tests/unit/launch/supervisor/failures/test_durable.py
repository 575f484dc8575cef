"""The control plane is killed at any moment of any command; what it had said is done stays done."""

from __future__ import annotations

import contextlib
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from gateway.errors import RequestError
from launch.supervisor.control_client import ControlClient
from tests.fakes.plant import ROOT, adapter_folder
from tests.support.waiting import until

Weights = dict[str, dict[str, float]]
LIMIT_S = 30.0


@contextlib.contextmanager
def control_plane(folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-m", "tests.fakes.plant_process", str(folder)]
    child = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL)
    try:
        yield child
    finally:
        child.kill()
        child.wait(10)


def settled(control: ControlClient) -> Weights:
    """Every task's versions with their weights, once the engine has proven all of them."""
    weights: Weights = {}

    def loaded() -> bool:
        with contextlib.suppress(RequestError):
            _, state = control.answer("GET", "/state")
            engine, tasks = state["engines"][0], state["tasks"]
            weights.clear()
            weights.update(
                (name, {version["id"]: version["weight"] for version in task["versions"]})
                for name, task in tasks.items()
            )
            wanted = {one for versions in weights.values() for one in versions}
            return engine["state"] == "ready" and set(engine["loaded"]) == wanted
        return False

    until(loaded, LIMIT_S)
    return weights


@dataclass
class Commands:
    """An operator who goes on until nobody answers; the last command may be done or not."""

    control: ControlClient
    folder: Path
    chance: random.Random
    states: list[Weights] = field(default_factory=list)
    """After each command that was answered."""
    asked: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        with contextlib.suppress(RequestError):
            while True:
                self._one()
                _, state = self.control.answer("GET", "/state")
                tasks: dict[str, dict[str, list[dict[str, float]]]] = state["tasks"]
                self.states.append(
                    {
                        name: {str(version["id"]): version["weight"] for version in task["versions"]}
                        for name, task in tasks.items()
                    }
                )

    def _one(self) -> None:
        task = self.chance.choice(("naming", "concept", "later"))
        what = self.chance.choice(("add", "add", "canary", "promote", "rollback", "remove"))
        if what in ("add", "canary"):
            source = adapter_folder(
                self.folder / "adapters" / f"{task}-new", f"{task} {self.chance.random()}"
            )
            fields: dict[str, object] = {"task": task, "source": str(source)}
            if what == "canary":
                fields["canary"] = 10
            self.asked.set()
            self.control.answer("POST", "/adapters", fields)
        elif what == "remove":
            self.control.answer("DELETE", f"/adapters/{task}")
        else:
            self.control.answer("POST", f"/adapters/{task}/{what}", {})


@pytest.mark.parametrize("seed", range(3))
def test_killed_at_any_moment_it_ends_in_the_state_that_was_said(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    control, onlooker = ControlClient(tmp_path / "state"), ControlClient(tmp_path / "state")
    with control_plane(tmp_path) as child:
        before = settled(control)
        commands = Commands(control, tmp_path, chance, [before])
        operator = threading.Thread(target=commands.run)
        operator.start()
        assert commands.asked.wait(LIMIT_S)
        for _ in range(chance.randrange(60)):  # so many looks later: the moment of the kill
            onlooker.answer("GET", "/state")
        child.send_signal(signal.SIGKILL)
        operator.join(LIMIT_S)
    with control_plane(tmp_path):
        after = settled(control)
    changed = [
        name for name in {*after, *commands.states[-1]} if after.get(name) != commands.states[-1].get(name)
    ]
    # The command that had no answer may have been done; it touched one task.
    assert len(changed) <= 1
    for versions in after.values():
        assert sum(versions.values()) == pytest.approx(100)
