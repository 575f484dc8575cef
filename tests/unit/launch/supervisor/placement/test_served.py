"""Placement of a whole control plane over two engines, which are programs: adapters come, move and go."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.fakes.plant import Plant, PlantOptions, timed_plant

pytestmark = pytest.mark.anyio

ONE_HOME: dict[str, object] = {"min_replicas": 1}
SIX = {f"t{number}": f"content-{number}" for number in range(6)}
"""More than an engine's four slots, and less than both have."""


@asynccontextmanager
async def placing_plant(folder: Path, **options: object) -> AsyncIterator[Plant]:
    given = PlantOptions(replicas=2, tasks=SIX, placement=ONE_HOME, **options)  # type: ignore[arg-type]
    async with timed_plant(folder, given, 90.0) as made:
        await made.until(lambda: all(one.state == "ready" for one in made.snapshot.engines), 30.0)
        yield made


def loaded(made: Plant) -> list[set[str]]:
    return [set(engine.loaded) for engine in made.snapshot.engines]


def wanted(made: Plant) -> set[str]:
    return {version.id for task in made.snapshot.tasks.values() for version in task.versions}


def on_one_each(made: Plant) -> bool:
    first, second = loaded(made)
    return not first & second and first | second == wanted(made) and max(len(first), len(second)) <= 4


async def test_each_has_one_home_and_changes_by_command_go_there(tmp_path: Path) -> None:
    async with placing_plant(tmp_path) as made:
        assert on_one_each(made)
        shown = (await made.client.get("/placement")).json()
        assert shown["planned"]
        assert {one["id"]: one["loaded_on"] for one in shown["adapters"]} == {
            adapter_id: [engine.name] for engine in made.snapshot.engines for adapter_id in engine.loaded
        }
        before = loaded(made)
        added = (await made.add("t0", "other", canary=20.0)).json()
        assert len(added["loaded_on"][added["id"]]) == 1
        assert (await made.client.post("/adapters/t0/promote", json={})).status_code == 200
        assert (await made.client.post("/adapters/t0/rollback", json={})).status_code == 200
        assert (await made.client.delete("/adapters/t1")).status_code == 200
        await made.until(lambda: not made.snapshot.retiring)
        await made.until(lambda: on_one_each(made))
        kept = [have & now for have, now in zip(before, loaded(made), strict=True)]
        assert sum(map(len, kept)) == 5  # what had a home stays there


async def test_an_engine_that_dies_while_adapters_come_leaves_none_unanswered(tmp_path: Path) -> None:
    async with placing_plant(tmp_path, engine={"restart_backoff_s": 600}) as made:
        engine = made.snapshot.engines[1]
        adding = asyncio.create_task(made.add("t6", "content-6"))
        os.kill(engine.pid, signal.SIGKILL)
        await made.until(lambda: made.snapshot.engines[1].state != "ready")
        await made.until(lambda: loaded(made)[0] >= wanted(made), 30.0)
        assert all(
            version.state == "ready" for task in made.snapshot.tasks.values() for version in task.versions
        )
        added = await adding
        if added.status_code != 200:  # it was being proven on the engine that died
            assert (await made.add("t6", "content-6")).status_code == 200
        made.supervisor.engines.start(force=True)
        await made.until(lambda: made.snapshot.engines[1].state == "ready", 30.0)
        await made.until(lambda: on_one_each(made), 40.0)
        assert "t6" in made.snapshot.tasks


async def test_another_policy_is_taken_with_a_reload(tmp_path: Path) -> None:
    async with placing_plant(tmp_path) as made:
        made.options.placement = {**ONE_HOME, "policy": "everywhere"}
        assert (await made.client.post("/reload")).json()["changed"] == ["placement.policy"]
        await made.until(lambda: loaded(made) == [wanted(made), wanted(made)], 30.0)
        made.options.placement = {**ONE_HOME, "policy": "planned", "max_moves_per_minute": 100}
        await made.client.post("/reload")
        await made.until(lambda: on_one_each(made), 40.0)
