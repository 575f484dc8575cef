"""Ready once everything is proven, and one bad adapter is no hindrance."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

from launch.engine.repeats import Remembered
from launch.engine.scoring import ProofScores
from launch.supervisor.database import StateStore
from tests.fakes.plant import BUILD, SETUP, Plant, PlantOptions
from tests.unit.launch.supervisor.test_supervisor import run


def test_engine_is_ready_once_its_adapters_are_proven(tmp_path: Path) -> None:
    async def work(made: Plant) -> None:
        await made.until_state("ready")
        (naming,) = made.snapshot.tasks["naming"].versions
        assert made.engine.loaded == [naming.id]
        assert (naming.state, len(naming.fingerprint)) == ("ready", 12)
        await made.until(lambda: made.on_disk.engines[0].state == "ready")  # published at the turn's end

    run(tmp_path, work)


def test_answers_that_an_earlier_release_kept_are_measured_anew(tmp_path: Path) -> None:
    async def prove(made: Plant) -> None:
        await made.until_state("ready")
        proven.append(made.engine.loaded[0])

    def kept() -> str:
        with closing(StateStore(tmp_path / "state")) as store:
            return store.fingerprint(proven[0], BUILD) or ""

    proven: list[str] = []
    run(tmp_path, prove)
    with closing(StateStore(tmp_path / "state")) as store:
        store.keep_fingerprint(proven[0], BUILD, '{"tokens": [" a"], "logprobs": [-9.5]}')
    run(tmp_path, prove)
    assert proven[0] == proven[1]
    assert ProofScores.from_json(kept()) is not None


def test_one_bad_adapter_does_not_keep_the_others_from_being_served(tmp_path: Path) -> None:
    async def work(made: Plant) -> None:
        await made.until_state("ready")
        (bad,), (good,) = made.versions("idle").values(), made.versions("naming").values()
        assert (bad.state, good.state) == ("failed", "ready")
        assert "has no effect" in bad.reason

    tasks = {"idle": "x", "naming": "one"}
    run(tmp_path, work, PlantOptions(arguments=("--effectless", "idle-x"), tasks=tasks))


def test_how_the_engine_repeats_itself_is_remembered_for_its_next_start(tmp_path: Path) -> None:
    async def work(made: Plant) -> None:
        await made.until_state("ready")
        repeats = made.supervisor.engines.keepers[0].residents.repeats
        assert repeats is not None
        asked.append(repeats.asked)

    def remembered() -> Remembered:
        with closing(StateStore(tmp_path / "state")) as store:
            found = Remembered.from_json(store.repeats(SETUP) or "{}")
        assert found is not None
        return found

    asked: list[int] = []
    run(tmp_path, work)
    first = remembered()
    run(tmp_path, work)
    assert asked[1] < asked[0] <= first.asked < remembered().asked
    assert first.odd == 0
