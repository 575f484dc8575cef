"""What is loaded on an engine is proven together while no slot is free."""

from __future__ import annotations

import pytest

from gateway.errors import EngineFailure
from launch.adapters.versions import Version
from launch.engine.loaded_adapters import EngineDoor, Residents
from launch.engine.scoring import Ask, Score

BASE = Score((-0.5, -1.0, -2.0), (-0.5, -1.0))
OWN = {"/near": Score((-0.5, -1.3, -2.0), (-0.5, -1.3)), "/far": Score((-3.0, -4.0, -1.0), (-3.0, -4.0))}


class Engine:
    """An engine of some slots; with `last_slot` the base is answered from the last, once it is taken."""

    def __init__(self, slots: int, *, last_slot: bool) -> None:
        self.slots = slots
        self.last_slot = last_slot
        self.paths: dict[str, str] = {}
        self.in_slots: list[str] = []
        self.asked: list[str] = []

    def door(self) -> EngineDoor:
        return EngineDoor(
            models=lambda url: {"base": "/base", **self.paths},
            load=lambda url, name, path: self.paths.update({name: path}),
            unload=lambda url, name: self._unload(name),
            asker=lambda url, reads: self._asker(),
        )

    def _unload(self, name: str) -> None:
        self.paths.pop(name, None)
        if name in self.in_slots:
            self.in_slots.remove(name)

    def _asker(self) -> Ask:
        def ask(model: str, system: str, written: int) -> Score:
            self.asked.append(model)
            if model == "base":
                full = len(self.in_slots) == self.slots
                return OWN[self.paths[self.in_slots[-1]]] if self.last_slot and full else BASE
            if model not in self.in_slots:
                self.in_slots = [*self.in_slots[-(self.slots - 1) :], model]
            return OWN[self.paths[model]]

        return ask


def residents(engine: Engine, *paths: str) -> Residents:
    found = Residents("http://engine", "base", engine.door())
    found.begin()
    for path in paths:
        found.ensure(Version(f"{path[1:]}@1", path), "tasks", "", None)
    return found


def test_engine_that_answers_the_base_from_its_last_slot_is_refused_though_slots_are_free() -> None:
    engine = Engine(4, last_slot=True)
    found = residents(engine, "/near", "/far")
    with pytest.raises(EngineFailure, match="in a mixed batch base answers as far@1 does"):
        found.prove_together(4)
    assert not found.proved_together
    assert set(engine.paths) == {"near@1", "far@1"}


def test_copies_hold_the_free_slots_and_are_unloaded() -> None:
    engine = Engine(4, last_slot=False)
    found = residents(engine, "/near", "/far")
    found.prove_together(4)
    assert found.proved_together
    assert [name for name in engine.asked if "proof" in name] == ["far@1-proof-0", "far@1-proof-1"]
    assert set(engine.paths) == {"near@1", "far@1"}


@pytest.mark.parametrize("slots", [None, 1, 2])
def test_full_or_unknown_slots_need_no_copies(slots: int | None) -> None:
    engine = Engine(2, last_slot=False)
    found = residents(engine, "/near", "/far")
    found.prove_together(slots)
    assert not any("proof" in name for name in engine.asked)


def test_nothing_is_proven_together_without_adapters() -> None:
    found = residents(Engine(4, last_slot=True))
    found.prove_together(4)
    assert not found.proved_together


def test_loads_are_counted_by_why() -> None:
    engine = Engine(4, last_slot=False)
    found = residents(engine, "/near", "/far")
    assert found.loads == {"first": 2}
    far = Version("far@1", "/far")
    found.ensure(far, "tasks.far.adapter", "", None)
    assert found.loads == {"first": 2}
    found.unload("far@1")
    found.ensure(far, "tasks.far.adapter", "", None)
    found.forget()
    found.ensure(far, "tasks.far.adapter", "", None)
    assert found.loads == {"first": 2, "again": 1, "restart": 1}
