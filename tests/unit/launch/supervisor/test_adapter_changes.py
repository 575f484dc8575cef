"""Adapters that come and go by command: loaded, proven, routed, or refused with nothing changed."""

from __future__ import annotations

import asyncio
import gc
import json
from pathlib import Path

import pytest

from tests.fakes.plant import PlantOptions, Unchecked, adapter_folder, timed_plant
from tests.support.waiting import calls
from tests.unit.launch.supervisor.test_supervisor import weights

pytestmark = pytest.mark.anyio


async def test_added_adapter_is_loaded_proven_and_routed(tmp_path: Path) -> None:
    async with timed_plant(tmp_path) as made:
        await made.until_state("ready")
        answer = await made.add("naming", "two")
        assert answer.status_code == 200
        added = answer.json()["id"]
        old = next(id for id in weights(made) if id != added)
        assert weights(made) == {old: 0.0, added: 100.0}
        assert set(made.engine.loaded) == {old, added}
        assert made.snapshot.tasks["naming"].previous == old
        assert (await made.client.post("/adapters/naming/rollback")).status_code == 200
        assert weights(made) == {old: 100.0, added: 0.0}


async def test_new_task_by_command_carries_its_system_prompt(tmp_path: Path) -> None:
    async with timed_plant(tmp_path) as made:
        await made.until_state("ready")
        assert (await made.add("relation", "r", system="Relate.")).status_code == 200
        status = made.snapshot.tasks["relation"]
        assert (status.settings["system"], status.configured) == ("Relate.", False)


async def test_a_candidate_changes_no_prompt_of_the_version_that_answers(tmp_path: Path) -> None:
    async with timed_plant(tmp_path) as made:
        await made.until_state("ready")
        for part in ({"canary": 10}, {"shadow": 0.1}):
            answer = await made.add("naming", "two", system="New.", **part)
            assert (answer.status_code, answer.json()["error"]["param"]) == (400, "system")
        assert not made.snapshot.tasks["naming"].settings["system"]
        assert len(weights(made)) == 1
        assert (await made.add("naming", "two", system="New.")).status_code == 200
        assert (await made.add("naming", "three", system="New.", canary=10)).status_code == 200


async def test_the_version_before_comes_back_with_its_own_prompt(tmp_path: Path) -> None:
    async with timed_plant(tmp_path) as made:
        await made.until_state("ready")
        (first,) = weights(made)
        assert (await made.add("naming", "two", system="New.")).status_code == 200
        for change, body, prompt in (
            ("rollback", "{}", None),
            ("rollback", "{}", "New."),
            ("promote", json.dumps({"id": first}), None),
        ):
            answer = await made.client.post(f"/adapters/naming/{change}", content=body)
            assert answer.status_code == 200
            assert made.snapshot.tasks["naming"].settings["system"] == prompt
        assert (await made.add("naming", "three")).status_code == 200
        assert made.snapshot.tasks["naming"].settings["system"] is None


async def test_adapter_that_acts_under_its_system_prompt_alone_can_be_added_with_it(tmp_path: Path) -> None:
    async with timed_plant(tmp_path, PlantOptions(arguments=("--only-under", "Relate."), tasks={})) as made:
        await made.until_state("ready")
        assert "has no effect" in (await made.add("relation", "r")).text
        assert (await made.add("relation", "r", system="Relate.")).status_code == 200


async def test_adapter_without_effect_is_refused_and_nothing_changes(tmp_path: Path) -> None:
    async with timed_plant(tmp_path, PlantOptions(arguments=("--effectless", "naming-idle"))) as made:
        await made.until_state("ready")
        before = made.snapshot.tasks, made.engine.loaded
        refused = await made.add("naming", "idle")
        assert refused.status_code == 400
        assert "has no effect" in refused.json()["error"]["message"]
        await made.until(lambda: not made.snapshot.retiring)
        assert (made.snapshot.tasks, made.engine.loaded) == before


async def test_copy_of_an_adapter_that_its_task_cannot_take_is_removed(tmp_path: Path) -> None:
    async with timed_plant(tmp_path) as made:
        await made.until_state("ready")
        await made.add("naming", "two", canary=10)
        refused = await made.add("naming", "three")
        assert "has the candidate" in refused.json()["error"]["message"]
        await made.until(lambda: len(made.adapters.removed) == 1)
        assert made.adapters.removed[0] not in made.versions()


async def test_old_version_is_unloaded_once_no_gateway_needs_it(tmp_path: Path) -> None:
    async with timed_plant(tmp_path) as made:
        await made.until_state("ready")
        (first,) = weights(made)
        async with made.listened_to():
            await made.add("naming", "two")
            await made.add("naming", "three")  # the first is not even the one before any more
            assert made.snapshot.retiring == [first]
            busy = {"gateway": "g1", "version": made.snapshot.version + 10, "busy": [first]}
            looks = calls(made.supervisor.gateways, "released")
            await made.client.post("/gateways", json=busy)
            await made.until(lambda: bool(looks))
            await made.client.post("/gateways", json=busy)
            await made.until(lambda: len(looks) > 1)
            assert not any(looks)
            assert first in made.engine.loaded
            await made.client.post("/gateways", json={**busy, "busy": []})
            await made.until(lambda: not made.snapshot.retiring)
        assert first not in made.engine.loaded
        assert made.adapters.removed == []  # the configuration names it still


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "said"),
    [
        ("POST", "/adapters", b"{", 400, "is not JSON"),
        ("POST", "/adapters", b"[]", 400, "must be a JSON object"),
        ("POST", "/adapters", b'{"task": "../x", "source": "/x"}', 400, "letters, digits"),
        ("POST", "/adapters", b'{"task": "x"}', 400, "name a folder"),
        ("POST", "/adapters", b'{"task": "x", "source": "/x", "sauce": 1}', 400, "sauce: unknown field"),
        ("POST", "/adapters", b'{"task": "x", "source": "/x", "canary": 100}', 400, "over 0 and under 100"),
        ("POST", "/adapters", b'{"task": "base", "source": "/x"}', 400, "name of the base"),
        ("POST", "/adapters", b'{"task": "x", "source": "/etc"}', 400, "adapters.roots"),
        ("GET", "/adapters/nope", b"", 404, "There is no task 'nope'. Tasks: naming."),
        ("POST", "/adapters/nope/promote", b"", 404, "There is no task"),
        ("POST", "/adapters/naming/promote", b"", 409, "no candidate"),
        ("POST", "/adapters/naming/rollback", b"", 409, "no earlier version"),
        ("DELETE", "/adapters/naming?id=naming@9", b"", 404, "has no version"),
        ("POST", "/tasks/nope/reset", b"", 404, "There is no task"),
        ("POST", "/gateways", b'{"gateway": 1}', 400, "Expected `str`"),
    ],
)
async def test_what_cannot_be_done_is_named(
    tmp_path: Path, method: str, path: str, body: bytes, status: int, said: str
) -> None:
    async with timed_plant(tmp_path, PlantOptions(base={"start": "lazy"})) as made:
        answer = await made.client.request(method, path, content=body)
        assert (answer.status_code, said in answer.text) == (status, True), answer.text


async def test_folder_that_changes_later_is_another_id(tmp_path: Path) -> None:
    async with timed_plant(tmp_path) as made:
        await made.until_state("ready")
        first = (await made.add("naming", "two")).json()["id"]
        folder = adapter_folder(tmp_path / "adapters" / "naming-two", "other content")
        again = await made.client.post("/adapters", json={"task": "naming", "source": str(folder)})
        assert again.json()["id"] != first
        assert json.loads(again.text)["previous"] == first


async def test_names_that_nothing_has_leave_nothing(tmp_path: Path) -> None:
    """They are whatever an operator writes, for as long as the control plane lives."""
    async with timed_plant(tmp_path, PlantOptions(base={"start": "lazy"})) as made:
        for number in range(5):
            answer = await made.client.post(f"/adapters/acme.{number}/promote")
            assert answer.status_code == 404
        gc.collect()
        assert not made.supervisor.changes._locks


async def test_one_whose_copy_was_damaged_is_loaded_when_it_is_added_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with timed_plant(tmp_path) as made:
        await made.until_state("ready")
        assert (await made.add("extra", "x")).status_code == 200
    monkeypatch.setattr(Unchecked, "verify", lambda *_: False)
    async with timed_plant(tmp_path) as made:
        await made.until_state("ready")
        (before,) = made.versions("extra").values()
        assert (before.state, before.reason[-12:]) == ("failed", "add it again")
        answer = await made.add("extra", "x")
        assert (answer.status_code, answer.json()["id"]) == (200, before.id)
        assert made.versions("extra")[before.id].state == "ready"
        assert before.id in [one.id for one in made.supervisor.wanted_versions]


async def test_an_engine_that_nobody_uses_stays_until_an_adapter_is_loaded(tmp_path: Path) -> None:
    options = PlantOptions(arguments=("--hang", "extra"), base={"idle_unload": "1h"})
    async with timed_plant(tmp_path, options) as made:
        await made.until_state("ready")
        adding = asyncio.create_task(made.add("extra", "x"))
        await made.until(lambda: any("proving" in one.stage for one in made.snapshot.operations))
        (keeper,) = made.supervisor.engines.keepers
        keeper.idle()
        await made.fake(hang=False)
        assert (await adding).status_code == 200
        assert made.engine.state == "ready"
