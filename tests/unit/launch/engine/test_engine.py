"""Ready once everything is proven, and one bad adapter is no hindrance."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from launch.engine.repeats import Remembered
from launch.engine.scoring import ProofScores
from launch.supervisor.database import StateStore
from tests.fakes.plant import BUILD, SETUP, PlantOptions, timed_plant

pytestmark = pytest.mark.anyio


async def test_engine_is_ready_once_its_adapters_are_proven(tmp_path: Path) -> None:
    async with timed_plant(tmp_path) as made:
        await made.until_state("ready")
        (naming,) = made.snapshot.tasks["naming"].versions
        assert made.engine.loaded == [naming.id]
        assert (naming.state, len(naming.fingerprint)) == ("ready", 12)
        await made.until(lambda: made.on_disk.engines[0].state == "ready")  # published at the turn's end


async def test_answers_that_an_earlier_release_kept_are_measured_anew(tmp_path: Path) -> None:
    async def prove() -> None:
        async with timed_plant(tmp_path) as made:
            await made.until_state("ready")
            proven.append(made.engine.loaded[0])

    def kept() -> str:
        with closing(StateStore(tmp_path / "state")) as store:
            return store.fingerprint(proven[0], BUILD) or ""

    proven: list[str] = []
    await prove()
    with closing(StateStore(tmp_path / "state")) as store:
        store.keep_fingerprint(proven[0], BUILD, '{"tokens": [" a"], "logprobs": [-9.5]}')
    await prove()
    assert proven[0] == proven[1]
    assert ProofScores.from_json(kept()) is not None


async def test_one_bad_adapter_does_not_keep_the_others_from_being_served(tmp_path: Path) -> None:
    tasks = {"idle": "x", "naming": "one"}
    async with timed_plant(tmp_path, PlantOptions(arguments=("--effectless", "idle-x"), tasks=tasks)) as made:
        await made.until_state("ready")
        (bad,), (good,) = made.versions("idle").values(), made.versions("naming").values()
        assert (bad.state, good.state) == ("failed", "ready")
        assert "has no effect" in bad.reason


async def test_how_the_engine_repeats_itself_is_remembered_for_its_next_start(tmp_path: Path) -> None:
    async def asked() -> int:
        async with timed_plant(tmp_path) as made:
            await made.until_state("ready")
            repeats = made.supervisor.engines.keepers[0].adapters.repeats
            assert repeats is not None
            return repeats.asked

    def remembered() -> Remembered:
        with closing(StateStore(tmp_path / "state")) as store:
            found = Remembered.from_json(store.repeats(SETUP) or "{}")
        assert found is not None
        return found

    at_first, first = await asked(), remembered()
    assert await asked() < at_first <= first.asked < remembered().asked
    assert first.odd == 0
