"""`lora-gateway placement` against a control plane of two engines."""

from __future__ import annotations

import pytest

from tests.fakes.plant import PlantOptions
from tests.unit.launch.conftest import Shelled

pytestmark = pytest.mark.anyio


async def test_who_is_where_and_why(shelled: Shelled) -> None:
    options = {"naming": "one", "other": "o"}
    async with shelled(
        PlantOptions(replicas=2, tasks=options, placement={"policy": "planned", "min_replicas": 1})
    ) as shell:
        plant = shell.plant
        await plant.until(lambda: all(one.state == "ready" for one in plant.snapshot.engines), 30.0)
        lines = (await shell.type("placement")).out.splitlines()
        assert lines[0].startswith("policy planned: each adapter on 1 or more engines")
        homes = {one: engine.name for engine in plant.snapshot.engines for one in engine.loaded}
        for adapter_id, engine in homes.items():
            (line,) = [one for one in lines if one.startswith(adapter_id)]
            assert f" {engine} " in line
            assert "Nobody asks for it now" in line
        document = (await shell.type("placement", "--json")).document
        assert {one["id"]: one["loaded_on"] for one in document["adapters"]} == {
            one: [engine] for one, engine in homes.items()
        }


async def test_one_engine_has_everything(shelled: Shelled) -> None:
    async with shelled() as shell:
        lines = (await shell.type("placement")).out.splitlines()
        assert lines[0] == "policy auto: every adapter on every engine"
