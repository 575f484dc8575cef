"""An operator at random: the same for a seed, and a refusal with its reason is no fault."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from launch.bench.faults.churn_operator import Change, Operator

FOLDERS = {"red": [Path("/r1"), Path("/r2")], "blue": [Path("/b1")]}


class Control:
    def __init__(self, status: int = 200) -> None:
        self.asked: list[tuple[str, str, Mapping[str, object] | None]] = []
        self.status = status

    def answer(
        self, method: str, path: str, fields: Mapping[str, object] | None = None
    ) -> tuple[int, dict[str, object]]:
        self.asked.append((method, path, fields))
        return self.status, {} if self.status == 200 else {"error": {"message": "no"}}


def changed(seed: int, count: int, status: int = 200) -> tuple[Operator, Control]:
    control = Control(status)
    operator = Operator(cast(Any, control), FOLDERS, seed)
    for _ in range(count):
        operator.change_one()
    return operator, control


def test_same_seed_makes_the_same_changes_and_all_kinds_come() -> None:
    operator, control = changed(1, 100)
    assert control.asked == changed(1, 100)[1].asked
    assert control.asked != changed(2, 100)[1].asked
    assert {one.what for one in operator.changes} == {
        *("add", "canary", "promote", "rollback", "remove", "add again")
    }


def test_what_is_removed_comes_back_at_once() -> None:
    operator, _ = changed(1, 100)
    kinds = [(one.what, one.task) for one in operator.changes]
    for at, (what, task) in enumerate(kinds):
        if what == "remove":
            assert kinds[at + 1] == ("add again", task)


def test_refusal_is_no_fault_and_anything_else_is() -> None:
    assert changed(1, 5, status=409)[0].faults == []
    operator, _ = changed(1, 1, status=500)
    assert len(operator.faults) == len(operator.changes)
    assert "500 no" in operator.faults[0]
    assert Change("add", "red", 409, 0.0, "no") == Change("add", "red", 409, 0.0, "no")


def test_it_ends_when_it_is_told() -> None:
    stop = threading.Event()
    stop.set()
    operator = Operator(cast(Any, Control()), FOLDERS, 1)
    operator.run(60.0, stop)
    assert operator.changes == []
