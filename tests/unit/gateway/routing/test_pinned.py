"""A version asked for by the id that answers carry: it alone, while it is loaded."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest

from gateway.admission.api_keys import Principal
from gateway.client.errors import AdapterNotLoaded
from gateway.client.model_list import Catalogue, Entry
from gateway.config.snapshot import Snapshot, VersionStatus
from gateway.errors import Forbidden
from gateway.routing.permission import permitted_route
from gateway.routing.table import build_table
from tests.support.stack import Stack, config_of, eventually, key_of, stack

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("both_ways")]
NEW, OLD = "naming@bbbbbbbbbbbb", "naming@cccccccccccc"
GONE = "naming@dddddddddddd"
KEY = "sk-concept"
KEYS = {"c": key_of(KEY, tasks=["concept"])}
USER = [{"role": "user", "content": "cat"}]


def with_versions(s: Stack, *, retiring: Sequence[str] = (), state: str = "ready") -> Snapshot:
    """`NEW` answers for the task, `OLD` is kept for a rollback."""
    before = s.gateway.replicas.snapshot
    task = before.tasks["naming"]
    versions = [VersionStatus(OLD, weight=0.0), VersionStatus(NEW, weight=100.0)]
    engine = msgspec.structs.replace(
        before.engines[0], state=state, loaded=[*before.engines[0].loaded, OLD] if state == "ready" else []
    )
    return msgspec.structs.replace(
        before,
        version=before.version + 1,
        engines=[engine],
        tasks={**before.tasks, "naming": msgspec.structs.replace(task, versions=versions)},
        retiring=list(retiring),
    )


@pytest.mark.parametrize("model", [NEW, OLD])
async def test_version_is_asked_alone_with_its_tasks_contract(tmp_path: Path, model: str) -> None:
    async with stack(tmp_path) as s:
        s.gateway.replicas.apply(with_versions(s))
        answer = await s.chat(model=model)
        assert answer.status_code == 200
        assert answer.headers["x-gateway-adapter"] == model
        assert answer.headers["x-gateway-task"] == "naming"
        sent = s.engine.completions[-1].json
        assert sent["model"] == model
        assert sent["messages"][0]["content"] == "Name the concept."  # type: ignore[index]
        assert sent["max_tokens"] == 24
        described = (await s.client.get(f"/v1/models/{model}")).json()
        assert (described["id"], described["root"], described["parent"]) == (model, model, "base")
        listed = (await s.client.get("/v1/models")).json()["data"]
        assert model not in [one["id"] for one in listed]
        await s.at_rest()


async def test_answers_model_can_be_asked_again_on_every_route(tmp_path: Path) -> None:
    async with stack(tmp_path) as s:
        s.gateway.replicas.apply(with_versions(s))
        for path, body in (
            ("/v1/chat/completions", {"messages": USER}),
            ("/v1/completions", {"prompt": "cat"}),
            ("/v1/responses", {"input": "cat"}),
            ("/v1/messages", {"messages": USER, "max_tokens": 5}),
            ("/v1/messages/count_tokens", {"messages": USER}),
            ("/tokenize", {"prompt": "cat"}),
        ):
            answer = await s.client.post(path, json={"model": OLD, **body})
            assert answer.status_code == 200, (path, answer.text)
            assert answer.headers["x-gateway-adapter"] == OLD


async def test_version_that_is_not_loaded_is_404_and_names_its_task(tmp_path: Path) -> None:
    async with stack(tmp_path) as s:
        s.gateway.replicas.apply(with_versions(s, retiring=[OLD]))
        for model in (GONE, OLD, "naming@", "naming@x@y"):
            answer = await s.chat(model=model)
            assert answer.status_code == 404
            error = answer.json()["error"]
            assert error["code"] == "model_not_found"
            assert f"Ask for 'naming', or for one of its versions that are: {NEW}." in error["message"]
            assert (await s.client.get(f"/v1/models/{model}")).status_code == 404
        unknown = (await s.chat(model="nothing@dddddddddddd")).json()["error"]["message"]
        assert "Valid models: base" in unknown
        assert not s.engine.completions


async def test_key_may_call_the_versions_of_its_own_tasks(tmp_path: Path) -> None:
    async with stack(tmp_path, keys=KEYS) as s:
        head = {"authorization": f"Bearer {KEY}"}
        s.gateway.replicas.apply(with_versions(s))
        for model, status in (("concept@aaaaaaaaaaaa", 200), (NEW, 403), (GONE, 403), ("concept@x", 404)):
            body = {"model": model, "messages": USER}
            answer = await s.client.post("/v1/chat/completions", json=body, headers=head)
            assert answer.status_code == status
            if status == 403:
                assert "cccccccccccc" not in answer.text


async def test_version_is_waited_for_while_no_engine_runs(tmp_path: Path) -> None:
    """One that the engine then does not have is a 404."""
    async with stack(tmp_path) as s, asyncio.timeout(5):
        replicas = s.gateway.replicas
        ready = with_versions(s)
        replicas.control_is(True)
        replicas.apply(with_versions(s, state="starting"))
        waiting = [asyncio.create_task(s.chat(model=model)) for model in (OLD, NEW)]
        await eventually(lambda: s.gateway.room.waiting == 2)
        engine = msgspec.structs.replace(ready.engines[0], loaded=[NEW])
        replicas.apply(msgspec.structs.replace(ready, version=ready.version + 5, engines=[engine]))
        old, new = await asyncio.gather(*waiting)
        assert (old.status_code, new.status_code) == (404, 200)
        assert new.headers["x-gateway-cold"] == "true"


def test_version_of_what_is_no_task_is_not_pinned(tmp_path: Path) -> None:
    config = config_of(tmp_path)
    table = build_table(config, {}, None, {"base@aaaaaaaaaaaa": True, "gone@aaaaaaaaaaaa": True, NEW: True})
    assert list(table.pinned) == [NEW]


def test_base_whose_name_holds_an_at_is_no_version_of_a_task(tmp_path: Path) -> None:
    config = config_of(tmp_path)
    config = config.model_copy(update={"base": config.base.model_copy(update={"name": "naming@base"})})
    table = build_table(config, {}, None, {NEW: True})
    assert permitted_route(table, Principal("b", frozenset({"naming@base"})), "naming@base").kind == "base"
    with pytest.raises(Forbidden):
        permitted_route(table, Principal("n", frozenset({"naming"})), "naming@base")


def test_python_client_takes_a_version_of_a_task_it_knows() -> None:
    catalogue = Catalogue({"base": Entry("base", "base", True), "naming": Entry("naming", "task", True)})
    assert catalogue.model(OLD) == Entry(OLD, "task", True)
    assert catalogue.adapter(OLD).id == OLD
    for name in ("base@aaaaaaaaaaaa", "nothing@aaaaaaaaaaaa", "naming-x"):
        with pytest.raises(AdapterNotLoaded):
            catalogue.model(name)
        with pytest.raises(AdapterNotLoaded):
            catalogue.adapter(name)
