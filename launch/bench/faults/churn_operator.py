"""An operator who never leaves it alone: adds, canaries, promotes, rolls back and removes, at random."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from launch.supervisor.control_client import ControlClient


@dataclass(frozen=True)
class Change:
    """One command; `status` 200, or 409 with the reason where it could not be made now."""

    what: str
    task: str
    status: int
    took_s: float
    said: str = ""


class Operator:
    """`folders` has for each task the adapters that may come."""

    def __init__(self, control: ControlClient, folders: Mapping[str, Sequence[Path]], seed: int) -> None:
        self._control = control
        self._folders = folders
        self._chance = random.Random(seed)
        self.changes: list[Change] = []

    def run(self, pause_s: float, stop: threading.Event) -> None:
        """A change every `pause_s`, until `stop`."""
        while not stop.wait(pause_s):
            self.change_one()

    def change_one(self) -> None:
        """One change at random, and a task that was removed comes back with the next one."""
        task = self._chance.choice(list(self._folders))
        source = str(self._chance.choice(self._folders[task]))
        what = self._chance.choices(
            ("add", "canary", "promote", "rollback", "remove"), weights=(4, 3, 3, 3, 1)
        )[0]
        if what in ("add", "canary"):
            self._add(what, task, source)
        elif what == "remove":
            self._do(what, task, "DELETE", f"/adapters/{task}")
            self._add("add again", task, source)
        else:
            self._do(what, task, "POST", f"/adapters/{task}/{what}", {})

    def _add(self, what: str, task: str, source: str) -> None:
        fields: dict[str, object] = {"task": task, "source": source}
        if what == "canary":
            fields["canary"] = self._chance.choice((5, 25, 50))
        self._do(what, task, "POST", "/adapters", fields)

    def _do(
        self, what: str, task: str, method: str, path: str, fields: Mapping[str, object] | None = None
    ) -> None:
        began = time.monotonic()
        status, document = self._control.answer(method, path, fields)
        error = document.get("error")
        said = str(error.get("message", "")) if isinstance(error, dict) else ""
        self.changes.append(Change(what, task, status, round(time.monotonic() - began, 3), said))

    @property
    def faults(self) -> list[str]:
        """Commands that ended neither well nor with a refusal that names the reason."""
        return [f"{c.what} {c.task}: {c.status} {c.said}" for c in self.changes if c.status not in (200, 409)]
