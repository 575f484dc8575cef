"""`lora-gateway tasks` against a control plane."""

from __future__ import annotations

import pytest

from tests.fakes.plant import PlantOptions
from tests.unit.launch.conftest import Shelled

pytestmark = pytest.mark.anyio


async def test_tasks_against_the_configuration(shelled: Shelled) -> None:
    async with shelled(PlantOptions(tasks={"naming": "one", "other": "o"})) as shell:
        same = await shell.type("tasks", "diff")
        assert same.out == "commands changed nothing: every task is as the configuration has it\n"
        (old,) = shell.plant.versions()
        await shell.add("naming", "two", "--canary", "25")
        await shell.add("extra", "x", "--system", "Say it.")
        await shell.type("adapters", "remove", "other")
        listed = (await shell.type("tasks", "list")).out
        assert "changed by command" in listed
        assert "added by command" in listed
        assert "other   -" in listed
        lines = (await shell.type("tasks", "diff")).out.splitlines()
        assert [line.partition(",")[0] for line in lines if line[0] not in "+-"] == [
            "extra",
            "naming",
            "other",
        ]
        assert "+ system: Say it." in lines
        assert f"+ {old}: 75 % of the requests" in lines
        assert lines[-1] == "+ removed"
        said = await shell.type("tasks", "reset", "naming")
        assert said.out.splitlines()[:2] == [
            "naming is as the configuration has it",
            f"naming: every request goes to {old}",
        ]
        refused = await shell.type("tasks", "reset", "extra")
        assert (refused.code, "remove it instead" in refused.err) == (1, True)
        assert (await shell.type("tasks", "reset", "other")).code == 0
        assert [c["task"] for c in (await shell.type("tasks", "diff", "--json")).document["changes"]] == [
            "extra"
        ]
        assert set((await shell.type("tasks", "list", "--json")).document["tasks"]) == {
            "naming",
            "other",
            "extra",
        }


async def test_removed_task_of_the_configuration_can_come_back(shelled: Shelled) -> None:
    async with shelled() as shell:
        said = await shell.type("adapters", "remove", "naming")
        assert "`lora-gateway tasks reset naming` brings it back" in said.out


async def test_what_the_configuration_names_is_kept_for_a_reset(shelled: Shelled) -> None:
    """Removed or replaced by commands it is unloaded, but its copy on disk stays."""
    async with shelled(PlantOptions(tasks={"naming": "one", "other": "o"})) as shell:
        made = shell.plant
        kept = {*made.versions(), *made.versions("other")}
        await shell.type("adapters", "remove", "other")
        await shell.add("naming", "two")
        await shell.add("naming", "three")
        await made.until(lambda: not made.snapshot.retiring)
        assert kept.isdisjoint(made.engine.loaded)
        assert kept.isdisjoint(made.adapters.removed)
        said = await shell.type("reload")
        assert "loaded" not in said.out
        for task in ("naming", "other"):
            assert (await shell.type("tasks", "reset", task)).code == 0
        assert kept <= set(made.engine.loaded)
        await made.until(lambda: len(made.adapters.removed) == 2)  # what commands alone had brought
