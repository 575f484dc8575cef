"""What the state directory says of a stack: its engines, its tasks, and what is on its way in."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec

from gateway.config.launch_lock import is_running
from gateway.config.snapshot import FILE, EngineStateName, EngineStatus, Snapshot, read_snapshot
from launch.cli.task_text import moment, shares
from launch.machine.gateway_address import noted_url

BEST_FIRST: tuple[EngineStateName, ...] = (
    "ready",
    "sleeping",
    "starting",
    "draining",
    "stopped",
    "failed",
)
"""Of several engines, the state that says most of what a request may hope for."""


@dataclass(frozen=True)
class Overview:
    """One look; engines that ended with their launch are said to be stopped."""

    snapshot: Snapshot
    running: bool
    url: str | None
    """Of the gateway, where a running `lora-gateway up` or `demo` says it."""

    @property
    def state(self) -> EngineStateName:
        return min(
            (engine.state for engine in self.snapshot.engines), key=BEST_FIRST.index, default="stopped"
        )

    def facts(self) -> dict[str, object]:
        """For a program; no key's digest is among them."""
        shown = msgspec.structs.replace(self.snapshot, keys={}, issued_keys={})
        document = msgspec.to_builtins(shown)
        return {"state": self.state, "running": self.running, "url": self.url, **document}

    def lines(self) -> list[str]:
        """For a person: gateway, engines, tasks with their versions' shares, and adapters on their way in."""
        snapshot = self.snapshot
        if not snapshot.engines:
            return ["stopped: never started here; of a launch in another folder --state-dir names the .state"]
        lines = [f"gateway: {self.url}"] if self.url else []
        if snapshot.leader:
            lines.append(f"control plane: {snapshot.leader} leads")
        lines += [" ".join([f"{one.name}: {one.state}", *_details(one)]) for one in snapshot.engines]
        for name, task in snapshot.tasks.items():
            lines.append(f"  {name}: {shares(task)}")
            lines += [f"    {one.id} failed: {one.reason}" for one in task.versions if one.reason]
        for operation in snapshot.operations if self.running else ():
            lines.append(f"  on its way in: {operation.task} from {operation.source}: {operation.stage}")
        return lines


def _details(engine: EngineStatus) -> Iterator[str]:
    """What it does and why, where, since when its process runs, and when it is tried again."""
    yield from filter(None, (engine.stage, engine.reason, engine.url))
    if engine.started_at and engine.state not in ("stopped", "failed"):
        yield f"started {moment(engine.started_at)}"
    if engine.next_try_at is not None and engine.managed:  # one of somebody else's is always tried again soon
        yield f"next try {moment(engine.next_try_at)}"


def look(state_dir: Path) -> Overview:
    """The launch of that folder now; one that ended leaves its last snapshot, with its engines stopped."""
    running = is_running(state_dir)
    snapshot = read_snapshot(state_dir / FILE) or Snapshot()
    engines = [engine if running else _orphaned(engine) for engine in snapshot.engines]
    known = msgspec.structs.replace(snapshot, engines=engines)
    return Overview(known, running, noted_url(state_dir) if running else None)


def _orphaned(engine: EngineStatus) -> EngineStatus:
    """An engine of ours ends with its launch, whatever the file still says."""
    if not engine.managed or engine.state in ("failed", "stopped"):
        return msgspec.structs.replace(engine, next_try_at=None)
    return msgspec.structs.replace(engine, state="stopped", stage="", reason="launch was killed")
