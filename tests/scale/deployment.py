"""A control plane and a gateway as they run, with engines on a cluster's nodes."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gateway.config.document import load_config
from gateway.config.snapshot import FILE, EngineStatus, Snapshot, read_snapshot
from launch.base.lora_shapes import describe_base
from launch.bench.engine.dummy_adapters import AdapterShape, write_dummy_adapter
from launch.supervisor.control_client import ControlClient
from tests.fakes.fake_stack import LAYOUT, fake_config
from tests.faults.processes import Program, program
from tests.scale.nodes import PLACE, ROOT
from tests.support.waiting import eventually

STARTS_WITHIN_S = 90.0
PATIENT_MS = 1000.0
"""Long enough that a busy machine does not count as a Redis that is away."""


@dataclass
class Deployment:
    """What runs, and how it is asked."""

    folder: Path
    control: Program
    gateway: Program

    @property
    def client(self) -> ControlClient:
        return ControlClient(self.folder / "state")

    @property
    def snapshot(self) -> Snapshot:
        return read_snapshot(self.folder / "state" / FILE) or Snapshot()

    @property
    def engines(self) -> dict[str, EngineStatus]:
        return {one.name: one for one in self.snapshot.engines}

    def ids(self, task: str = "naming") -> set[str]:
        """Of the adapters that the task has now."""
        return {version.id for version in self.snapshot.tasks[task].versions}

    def ready(self) -> int:
        """How many engines serve."""
        return sum(one.state == "ready" for one in self.engines.values())

    async def until_ready(self, count: int, within_s: float = STARTS_WITHIN_S) -> None:
        """Raises TimeoutError, AssertionError where a program has ended."""

        def so() -> bool:
            for one in (self.control, self.gateway):
                assert one.process.poll() is None, one.said()[-3000:]
            return self.ready() == count

        await eventually(so, within_s)

    async def until_taken_up(self, version: int, count: int) -> float:
        """Seconds until a table beyond `version` is out and so many serve. Raises as `until_ready`."""
        began = time.monotonic()
        await eventually(lambda: self.snapshot.version > version, 60)
        await self.until_ready(count)
        return time.monotonic() - began


def written(
    folder: Path,
    address: str,
    engines: dict[str, Any],
    arguments: Sequence[str] = (),
    gateway: dict[str, Any] | None = None,
) -> None:
    """A configuration with the fake engine in vLLM's place, on that cluster; `gateway`: more of its keys."""
    document = fake_config(folder, arguments).model_dump(mode="json", by_alias=True)
    document["engines"] = {"backend": "ray", "ray": {"address": address}, **engines}
    document["gateway"].update(gateway or {})
    document["adapters"]["roots"] = [str(folder)]
    (folder / "config.yaml").write_text(json.dumps(document), encoding="utf-8")


def written_for_two(
    folder: Path, tasks: Sequence[str], engines: Sequence[str], keys: dict[str, Any], redis: str
) -> Path:
    """Both agree through that Redis; the folder of the second gateway, which has a state of its own.

    Of `tasks` the first is the fake configuration's own.
    """
    document = fake_config(folder).model_dump(mode="json", by_alias=True)
    base = describe_base(str(folder / "base"), "base", LAYOUT)
    for seed, task in enumerate(tasks[1:], 2):
        write_dummy_adapter(folder / task, base, AdapterShape(4, ()), seed=seed)
    document["tasks"] = {task: {"adapter": str(folder / task)} for task in tasks}
    document["engines"] = [{"name": f"engine-{index}", "url": url} for index, url in enumerate(engines)]
    document["keys"] = keys
    second = folder / "second"
    second.mkdir()
    for place, follow in ((folder, False), (second, True)):
        document["state_dir"] = str(place / "state")
        document["shared"] = {"redis": redis, "timeout_ms": PATIENT_MS, "follow": follow}
        (place / "config.yaml").write_text(json.dumps(document), encoding="utf-8")
    return second


def written_for_leaders(folder: Path, address: str, redis: str) -> Path:
    """Two control planes for the same engines, with what both need beside them; the folder of the second."""
    written(folder, address, {"replicas": 2}, ["--takes-ms", "50"])
    document = json.loads((folder / "config.yaml").read_text(encoding="utf-8"))
    document["shared"] = {"redis": redis, "timeout_ms": PATIENT_MS, "folder": str(folder / "common")}
    second = folder / "second"
    for place in (folder, second):
        place.mkdir(exist_ok=True)
        document["state_dir"] = str(place / "state")
        (place / "config.yaml").write_text(json.dumps(document), encoding="utf-8")
    return second


def written_real(folder: Path, address: str, engines: dict[str, Any] | None = None) -> None:
    """The demo, with its one real engine on a node beside the head; `engines`: others in its place."""
    document = load_config(ROOT / "configs" / "demo" / "config.yaml", {}).model_dump(
        mode="json", by_alias=True
    )
    ray = {"address": address, **({"resources": {PLACE: 1}} if engines is None else {})}
    document["engines"] = {"backend": "ray", "ray": ray, **(engines or {})}
    document["state_dir"] = str(folder / "state")
    (folder / "config.yaml").write_text(json.dumps(document), encoding="utf-8")


@contextmanager
def deployed(folder: Path) -> Iterator[Deployment]:
    """Both programs on the folder's configuration; the control plane ends in order, its engines too."""
    where = ["--config", str(folder / "config.yaml")]
    with ExitStack() as held:
        control = held.enter_context(program(["launch", *where], folder / "launch.log", wait=False))
        gateway = held.enter_context(program(["gateway", *where, "--port", "0"], folder / "gateway.log"))
        try:
            yield Deployment(folder, control, gateway)
        finally:
            control.process.terminate()
            with suppress(subprocess.TimeoutExpired):
                control.process.wait(30)
