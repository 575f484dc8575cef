"""Keys of the role operator: their tenant's adapters, within its quota, and nothing of anybody else's."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.fakes.plant import Plant, PlantOptions, adapter_folder, plant
from tests.support.stack import eventually, stack
from tests.unit.gateway.endpoints.administration.test_commands import (
    ADMIN,
    USER,
    Client,
    FakeControl,
    administered,
    digest,
)

pytestmark = pytest.mark.anyio
OPERATOR = "sk-operator-key"
KEYS: dict[str, object] = {
    "root": {"sha256": digest(ADMIN), "role": "admin"},
    "ops": {"sha256": digest(OPERATOR), "role": "operator", "tenant": "acme", "tasks": ["acme.*"]},
    "team": {"sha256": digest(USER)},
}
OTHERS = {"naming": "one", "other.naming": "two"}


@asynccontextmanager
async def operated(folder: Path, **quota: object) -> AsyncIterator[tuple[Plant, Client]]:
    tenants: dict[str, object] = {"acme": {"sources": [f"{folder}/adapters/acme/*"], **quota}}
    options = PlantOptions(keys=KEYS, tasks=OTHERS, tenants=tenants)
    async with plant(folder, options) as made, stack(folder / "state", ready=False, keys=KEYS) as front:
        await made.until_state("ready")
        await eventually(lambda: "other.naming" in front.gateway.replicas.table.routes)
        yield made, Client(front, FakeControl())


async def add(client: Client, folder: Path, task: str, content: str, key: str = OPERATOR) -> tuple[int, str]:
    source = adapter_folder(folder / "adapters" / "acme" / content, content)
    answer = await client.ask("POST", "/admin/adapters", {"task": task, "source": str(source)}, key=key)
    return answer.status_code, answer.text


async def test_an_operator_runs_its_own_tasks(tmp_path: Path) -> None:
    async with operated(tmp_path) as (_, client):
        assert (await add(client, tmp_path, "acme.naming", "three"))[0] == 200
        status, text = await add(client, tmp_path, "acme.naming", "four")
        second = json.loads(text)["id"]
        assert status == 200
        models = await client.ask("GET", "/v1/models", key=OPERATOR)
        assert [one["id"] for one in models.json()["data"]] == ["acme.naming"]
        for method, path in (
            ("GET", "/admin/adapters/acme.naming"),
            ("POST", "/admin/adapters/acme.naming/rollback"),
            ("DELETE", f"/admin/adapters/acme.naming?id={second}"),
            ("DELETE", "/admin/adapters/acme.naming"),
        ):
            answer = await client.ask(method, path, key=OPERATOR)
            assert answer.status_code == 200, (path, answer.text)


async def test_it_sees_nothing_of_others(tmp_path: Path) -> None:
    async with operated(tmp_path) as (_, client):
        await add(client, tmp_path, "acme.naming", "three")
        seen = [(await client.ask("GET", path, key=OPERATOR)) for path in ("/admin/adapters", "/admin/tasks")]
        whole = await client.ask("GET", "/admin/adapters", key=ADMIN)
        assert "other.naming" in whole.text
        for answer in seen:
            assert answer.status_code == 200
            assert list(answer.json()["tasks"]) == ["acme.naming"]
            text = answer.text.replace(str(tmp_path), "").replace("acme.naming", "")
            assert "other" not in text
            assert "naming" not in text
        missing = await client.ask("GET", "/admin/adapters/other.missing", key=OPERATOR)
        for method, path in (
            ("GET", "/admin/adapters/other.naming"),
            ("DELETE", "/admin/adapters/naming"),
            ("POST", "/admin/adapters/other.naming/promote"),
            ("POST", "/admin/tasks/naming/reset"),
            ("GET", "/admin/adapters/acme.missing"),
        ):
            answer = await client.ask(method, path, key=OPERATOR)
            assert answer.status_code == 404
            said = answer.json()["error"]["message"].replace(path.split("/")[3], "X")
            assert said == missing.json()["error"]["message"].replace("other.missing", "X"), path
        assert (await client.ask("GET", "/admin/adapters/naming", key=ADMIN)).status_code == 200


async def test_what_is_the_admins_alone(tmp_path: Path) -> None:
    async with administered(tmp_path, KEYS) as client:
        for method, path in (
            ("GET", "/admin/status"),
            ("GET", "/admin/keys"),
            ("POST", "/admin/keys"),
            ("DELETE", "/admin/keys/team"),
            ("GET", "/admin/tasks/diff"),
            ("GET", "/admin/placement"),
            ("POST", "/admin/reload"),
        ):
            answer = await client.ask(method, path, key=OPERATOR)
            assert (answer.status_code, answer.json()["error"]["code"]) == (403, "permission_denied"), path
        for body in ({"task": "naming"}, {"task": "acme"}, {"task": 3}, {}, {"task": ["acme.x"]}):
            answer = await client.ask("POST", "/admin/adapters", {"source": "/a", **body}, key=OPERATOR)
            assert (answer.status_code, "begin with 'acme.'" in answer.text) == (403, True)
        forged = {"task": "acme.x", "source": "/a", "tenant": "other"}
        assert (await client.ask("POST", "/admin/adapters", forged, key=OPERATOR)).status_code == 400
        assert client.control.asked == []
        await client.ask("POST", "/admin/adapters", {"task": "acme.x", "source": "/a"}, key=OPERATOR)
        ((_, body_passed),) = client.control.asked
        assert json.loads(body_passed)["tenant"] == "acme"


async def test_the_quota_holds_for_two_at_once(tmp_path: Path) -> None:
    async with operated(tmp_path, max_adapters=1) as (made, client):
        done = await asyncio.gather(
            add(client, tmp_path, "acme.one", "three"), add(client, tmp_path, "acme.two", "four")
        )
        assert sorted(status for status, _ in done) == [200, 409]
        assert any("quota_exceeded" in text for _, text in done)
        assert sum(name.startswith("acme.") for name in made.snapshot.tasks) == 1
        assert (await add(client, tmp_path, "acme.three", "five", ADMIN))[0] == 200, "an admin has none"


async def test_it_takes_adapters_from_its_own_places(tmp_path: Path) -> None:
    async with operated(tmp_path) as (made, client):
        elsewhere = adapter_folder(tmp_path / "adapters" / "other-private", "secret")
        for source in (str(elsewhere), f"{tmp_path}/adapters/acme/../other-private", "/etc", "hf://other/x"):
            fields = {"task": "acme.x", "source": source}
            answer = await client.ask("POST", "/admin/adapters", fields, key=OPERATOR)
            assert (answer.status_code, answer.json()["error"]["param"]) == (403, "source"), source
        assert "acme.x" not in made.snapshot.tasks


async def test_a_task_called_as_its_namespace_begins_holds_nobody_up(tmp_path: Path) -> None:
    async with operated(tmp_path) as (_, client):
        for task, content in (("acme.", "three"), ("acme.naming", "four")):
            status, text = await add(client, tmp_path, task, content)
            assert status == 200, text


async def test_what_it_added_is_shown_whole(tmp_path: Path) -> None:
    async with operated(tmp_path) as (made, client):
        await add(client, tmp_path, "acme.naming", "three")
        made.adapters.warnings = ("came without a digest",)
        source = adapter_folder(tmp_path / "adapters" / "acme" / "four", "four")
        fields = {"task": "acme.naming", "source": str(source), "shadow": 0.5}
        answer = (await client.ask("POST", "/admin/adapters", fields, key=OPERATOR)).json()
        shown = (await client.ask("GET", "/admin/adapters/acme.naming", key=OPERATOR)).json()
        assert answer["warnings"] == ["came without a digest"]
        assert answer["shadow"] == shown["shadow"] == {"id": answer["id"], "share": 0.5}
        assert answer["versions"] == shown["versions"]


async def test_why_no_engine_is_ready_is_not_for_it(tmp_path: Path) -> None:
    """As of `/ready`: an engine's own words may hold paths and secrets."""
    said = {"message": "No engine is ready (engine-0: failed /secret)", "code": "engine_not_ready"}
    async with administered(tmp_path, KEYS) as client:
        client.control.status, client.control.body = 503, json.dumps({"error": said}).encode()
        fields = {"task": "acme.x", "source": "/a"}
        for key, shown in ((OPERATOR, False), (ADMIN, True)):
            answer = await client.ask("POST", "/admin/adapters", fields, key=key)
            assert (answer.status_code, answer.json()["error"]["code"]) == (503, "engine_not_ready")
            assert ("secret" in answer.text) is shown
