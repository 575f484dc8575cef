"""What is loaded on an engine is proven together while no slot is free."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gateway.errors import EngineFailure
from launch.adapters.versions import Version
from launch.engine.loaded_adapters import EngineCalls, LoadedAdapters, Wanting
from launch.engine.repeats import Remembered, Repeats
from launch.engine.scoring import READ, Ask, ProofScores, Score

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

    def calls(self) -> EngineCalls:
        return EngineCalls(
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
            found = self._score(model)
            return replace(found, written=()) if written == READ else replace(found, read=())

        return ask

    def _score(self, model: str) -> Score:
        if model == "base":
            full = len(self.in_slots) == self.slots
            return OWN[self.paths[self.in_slots[-1]]] if self.last_slot and full else BASE
        if model not in self.in_slots:
            self.in_slots = [*self.in_slots[-(self.slots - 1) :], model]
        return OWN[self.paths[model]]


def wanting(path: str, known: str | None = None) -> Wanting:
    return Wanting(Version(f"{path[1:]}@1", path), f"tasks.{path[1:]}.adapter", "", known)


def residents(engine: Engine, *paths: str) -> LoadedAdapters:
    found = LoadedAdapters("http://engine", "base", engine.calls())
    found.begin()
    for path in paths:
        found.ensure(wanting(path))
    return found


def test_engine_that_answers_the_base_from_its_last_slot_is_refused_though_slots_are_free() -> None:
    engine = Engine(4, last_slot=True)
    found = residents(engine, "/near", "/far")
    with pytest.raises(EngineFailure, match="in a mixed batch base answers as far@1 does"):
        found.prove_mixed(4)
    assert not found.proved_mixed
    assert set(engine.paths) == {"near@1", "far@1"}


@pytest.mark.parametrize("together", [False, True])
def test_what_was_asked_of_a_process_that_is_gone_changes_nothing_of_the_next(together: bool) -> None:
    engine = Engine(4, last_slot=False)
    asked: list[str] = []

    def load(url: str, name: str, path: str) -> None:
        asked.append(f"{url} {name}")
        if url == "lost":  # with its node; the next process is proven before that is known here
            found.forget()
            found.move("next")
            found.ensure(wanting("/far"))
            raise EngineFailure("no answer")
        engine.paths[name] = path

    found = LoadedAdapters("lost", "base", replace(engine.calls(), load=load))
    if together:
        found.ensure_together([wanting("/far"), wanting("/near")], 4)
    else:
        with pytest.raises(EngineFailure, match="the engine ended before far@1 was loaded"):
            found.ensure(wanting("/far"))
    assert asked == ["lost far@1", "next far@1"]
    assert (set(found.proven), found.failed, set(engine.paths)) == ({"far@1"}, {}, {"far@1"})


def test_copies_hold_the_free_slots_and_are_unloaded() -> None:
    engine = Engine(4, last_slot=False)
    found = residents(engine, "/near", "/far")
    found.prove_mixed(4)
    assert found.proved_mixed
    assert [name for name in engine.asked if "proof" in name] == ["far@1-proof-0", "far@1-proof-1"]
    assert set(engine.paths) == {"near@1", "far@1"}


@pytest.mark.parametrize("slots", [None, 1, 2])
def test_full_or_unknown_slots_need_no_copies(slots: int | None) -> None:
    engine = Engine(2, last_slot=False)
    found = residents(engine, "/near", "/far")
    found.prove_mixed(slots)
    assert not any("proof" in name for name in engine.asked)


def test_nothing_is_proven_together_without_adapters() -> None:
    found = residents(Engine(4, last_slot=True))
    found.prove_mixed(4)
    assert not found.proved_mixed


def test_loads_are_counted_by_why() -> None:
    engine = Engine(4, last_slot=False)
    found = residents(engine, "/near", "/far")
    assert found.loads == {"first": 2}
    found.ensure(wanting("/far"))
    assert found.loads == {"first": 2}
    found.unload("far@1")
    found.ensure(wanting("/far"))
    found.forget()
    found.ensure(wanting("/far"))
    assert found.loads == {"first": 2, "again": 1, "restart": 1}


def test_adapters_are_proven_together_and_what_that_does_not_prove_is_left() -> None:
    engine = Engine(4, last_slot=False)
    found = residents(engine)
    found.ensure_together([wanting("/near"), wanting("/far")], 4)
    assert set(found.proven) == {"near@1", "far@1"}
    assert found.loads == {"first": 2}


def test_adapter_that_cannot_be_loaded_or_asked_leaves_the_others_to_be_proven() -> None:
    class Refusing(Engine):
        def calls(self) -> EngineCalls:
            return replace(super().calls(), load=self._load_it)

        def _load_it(self, url: str, name: str, path: str) -> None:
            if name.startswith("broken"):
                raise EngineFailure("no such file")
            self.paths[name] = path

    found = residents(Refusing(4, last_slot=False))
    found.ensure_together([wanting("/broken"), wanting("/near"), wanting("/far")], 4)
    assert set(found.proven) == {"near@1", "far@1"}
    assert found.failed == {}  # who tries it by itself says why
    with pytest.raises(EngineFailure, match="no such file"):
        found.ensure(wanting("/broken"))
    assert found.failed == {"broken@1": "no such file"}


def test_round_that_an_adapter_breaks_proves_nobody_and_fails_nobody() -> None:
    class Breaking(Engine):
        def _asker(self) -> Ask:
            ask = super()._asker()

            def broken(model: str, system: str, written: int) -> Score:
                if model == "far@1":
                    raise EngineFailure("500")
                return ask(model, system, written)

            return broken

    found = residents(Breaking(4, last_slot=False))
    found.ensure_together([wanting("/near"), wanting("/far")], 4)
    assert (set(found.proven), found.failed) == (set(), {})
    found.ensure(wanting("/near"))
    assert set(found.proven) == {"near@1"}


def test_more_adapters_than_slots_are_proven_in_rounds_of_as_many_as_there_are_slots(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[list[str]] = []

    def prove(
        ask: Ask, base: str, known: dict[str, ProofScores | None], _: Repeats
    ) -> dict[str, ProofScores]:
        asked.append(list(known))
        return {}

    monkeypatch.setattr("launch.engine.loaded_adapters.prove_together", prove)
    found = residents(Engine(2, last_slot=False))
    found.ensure_together([wanting("/near"), wanting("/far"), wanting("/third")], 2)
    assert asked == [["near@1", "far@1"], ["third@1"]]


def test_what_is_remembered_spares_scores_and_what_the_mixed_batch_read_is_counted() -> None:
    engine = Engine(4, last_slot=False)
    found = LoadedAdapters("http://engine", "base", engine.calls())
    found.begin(Remembered(BASE.read, 100, 0))
    assert engine.asked == ["base"] * 2
    found.ensure(wanting("/near"))
    assert found.repeats is not None
    assert found.repeats.counted[0] == 100 + 2 + 1 + 3  # base beside it; its own four came again three times
    found.prove_mixed(4)
    assert found.repeats.counted[0] == 106 + 2 + 2


def test_engine_that_does_not_serve_the_base_does_not_begin() -> None:
    engine = Engine(4, last_slot=False)
    found = LoadedAdapters("http://engine", "other", engine.calls())
    with pytest.raises(EngineFailure, match="does not serve other"):
        found.begin()
    with pytest.raises(EngineFailure, match="does not serve other"):
        found.answers()


def test_what_an_adapter_wrote_first_is_held_against_what_it_writes_after_a_restart() -> None:
    engine = Engine(4, last_slot=False)
    found = residents(engine, "/near", "/far")
    found.prove_mixed(4)
    kept = {adapter_id: scores.to_json() for adapter_id, scores in found.proven.items()}
    assert all(scores.own.written for scores in found.proven.values())
    again = Engine(4, last_slot=False)
    later = residents(again)
    later.ensure_together([wanting("/near", kept["near@1"]), wanting("/far", kept["far@1"])], 4)
    asked = len(again.asked)
    later.prove_mixed(4)
    # The base in its own company, two copies that hold slots, and two of each model that read and write.
    assert len(again.asked) - asked == 2 + 2 + 2 * 6
    engine = Engine(4, last_slot=False)
    swapped = residents(engine)
    swapped.ensure_together([wanting("/near", kept["near@1"]), wanting("/far", kept["far@1"])], 4)
    engine.paths |= {"near@1": "/far", "far@1": "/near"}
    with pytest.raises(EngineFailure, match="in a mixed batch"):
        swapped.prove_mixed(4)
