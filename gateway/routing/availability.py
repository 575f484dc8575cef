"""What can be expected of the engines at one moment, by what was last said of them. Nothing here does I/O."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from gateway.admission.turns.engine_slots import EngineRoom
from gateway.config.snapshot import PROVING, EngineStatus, Snapshot, proving_on
from gateway.errors import Unavailable

APPEARS_WITHIN_S = 15.0
"""Both programs are started together as a rule, and the control plane takes a few seconds more."""
RETURNS_WITHIN_S = 5.0
"""A control plane that is gone for less only changed places: who waits for an engine goes on waiting."""
GONE = "the control plane is gone, and the engine with it"

ControlState = Literal["awaited", "alive", "away", "gone"]
"""`awaited`: it was never heard, and may yet appear; `away`: it was heard, and may yet return."""


class ControlPresence:
    """Whether there is a control plane that speaks, and for how long one that does not is waited for."""

    def __init__(self, now: float) -> None:
        """Times are seconds of one clock, of which only differences matter."""
        self.alive = False
        self._heard = False
        self._hoped_until = now + APPEARS_WITHIN_S

    def note(self, alive: bool, now: float) -> bool:
        """It speaks, or does so no longer; whether that is a change."""
        if alive == self.alive:
            return False
        self.alive = alive
        self._heard = True
        self._hoped_until = now + RETURNS_WITHIN_S
        return True

    def state(self, now: float) -> ControlState:
        """What may be hoped of it."""
        if self.alive:
            return "alive"
        if now > self._hoped_until:
            return "gone"
        return "away" if self._heard else "awaited"


@dataclass(frozen=True, slots=True)
class Availability:
    """The engines of one moment, and what may come of them."""

    engines: Sequence[EngineStatus]
    ready: bool
    """Whether one takes requests."""
    control: ControlState
    now: float
    """As `time.time()`."""

    @property
    def _coming(self) -> bool:
        return any(
            one.state in ("starting", "sleeping") or one.next_try_at is not None for one in self.engines
        )

    @property
    def _on_demand(self) -> bool:
        return any(one.lazy and one.state in ("stopped", "draining") for one in self.engines)

    def may_come(self) -> bool:
        """Whether waiting makes sense: no engine is ready, and one will be or would be if it were asked."""
        if self.control == "awaited":
            # Nothing is known yet, or what an earlier control plane said at its end.
            return all(one.state == "stopped" and one.reason != GONE for one in self.engines)
        if self.ready or self.control == "gone":
            return False
        return self._coming or self._on_demand or any(one.reason == GONE for one in self.engines)

    def wants_start(self) -> bool:
        """Whether somebody has to ask for an engine."""
        return self._on_demand or any(one.state == "sleeping" for one in self.engines)

    def stage(self) -> tuple[str, float]:
        """What the engine that comes is doing, and the seconds that it has taken so far."""
        for engine in self.engines:
            if engine.state == "starting":
                return engine.stage or "starting", max(0.0, self.now - engine.started_at)
        return "waiting for a start", 0.0

    def rest_s(self) -> int:
        """Seconds until an engine is ready, by how long its last start took.

        One that has taken longer than that is given a tenth of its time so far: it may be nearly there.
        """
        rests = []
        for engine in self.engines:
            # Before its first start nobody knows how long one takes: a guess.
            load_s = engine.load_s or 60.0
            if engine.state == "starting":
                running_s = max(0.0, self.now - engine.started_at)
                load_s = max(load_s - running_s, running_s / 10)
            elif engine.next_try_at is not None:
                load_s += max(0.0, engine.next_try_at - self.now)
            rests.append(load_s)
        return int(min(600, max(1, min(rests, default=10))))

    def refusal(self, *, reasons: bool) -> Unavailable:
        """The 503 that says what the engines are doing and when to come again; where `reasons`, also why."""
        under_way = any(one.state in ("starting", "ready") for one in self.engines)
        if under_way or ((self._coming or self._on_demand) and self.control == "alive"):
            stage, running_s = self.stage()
            stage = stage if reasons else open_stage(stage)
            return Unavailable(
                f"The engine is starting ({stage}, {running_s:.0f} s so far).", retry_after_s=self.rest_s()
            )
        states = [
            f"state: {one.state}{f': {one.reason}' if one.reason and reasons else ''}" for one in self.engines
        ]
        shown = "; ".join(states) or "state: stopped"
        return Unavailable(
            f"The engine is not running ({shown}).", code="engine_not_running", retry_after_s=10
        )


def open_stage(stage: str) -> str:
    """What an engine that starts is doing, for whom no adapter's name is."""
    return "proving an adapter" if stage.startswith("proving ") and "@" in stage else stage


def slots_of(snapshot: Snapshot) -> tuple[int | None, int]:
    """Adapters that may be asked for at once (None where a ready engine says nothing), and how many are.

    While an adapter is proven one slot is left to it: vLLM would hold its canary back for as long as
    requests keep every slot.
    """
    sizes = [engine.slots for engine in snapshot.engines if engine.state == "ready"]
    known = [size for size in sizes if size is not None]
    asked = _asked(snapshot)
    if not known or len(known) < len(sizes):
        return None, len(asked)
    proving = any(one.stage.startswith(PROVING) for one in snapshot.operations)
    return max(1, min(known) - proving), len(asked)


def rooms_of(snapshot: Snapshot) -> dict[str, EngineRoom] | None:
    """Of several engines what each holds, with a slot less where an adapter is proven; None of fewer.

    One that does not say how many slots it has is taken to have enough.
    """
    ready = [engine for engine in snapshot.engines if engine.state == "ready"]
    if len(ready) < 2:
        return None
    asked = _asked(snapshot)
    proving = {one.stage for one in snapshot.operations}
    rooms: dict[str, EngineRoom] = {}
    for engine in ready:
        loaded = asked.intersection(engine.loaded)
        slots = len(loaded) if engine.slots is None else engine.slots - (proving_on(engine.name) in proving)
        rooms[engine.name] = EngineRoom(max(1, slots), loaded)
    return rooms


def _asked(snapshot: Snapshot) -> frozenset[str]:
    """Adapters that requests or copies of them go to."""
    return frozenset(
        version.id
        for task in snapshot.tasks.values()
        for version in task.versions
        if version.weight or (task.shadow and task.shadow.id == version.id)
    )
