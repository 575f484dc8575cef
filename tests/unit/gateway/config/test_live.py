"""Tasks, pipelines and keys that change while requests run, and what each endpoint says of every state."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from gateway.admission.death_guard import DeathGuard
from gateway.admission.limits import Admission
from gateway.config.snapshot import EngineStateName, Snapshot, TaskStatus, VersionStatus
from gateway.errors import Unauthorized
from gateway.routing.cold_start import WaitingRoom
from gateway.routing.control_socket import Control
from gateway.routing.replicas import Replicas
from gateway.routing.snapshot_follower import Follower
from gateway.upkeep import Upkeep
from tests.fakes.fake_control import snapshot_with
from tests.fakes.fake_engine import Answer
from tests.support.controlled import TWO_TASKS, Controlled, controlled, says
from tests.support.stack import TASKS, config_of, eventually, key_of, stack

pytestmark = pytest.mark.anyio

EXTRA = "extra@cccccccccccc"


async def chat(c: Controlled, key: str | None = None, **fields: Any) -> httpx.Response:
    headers = {} if key is None else {"authorization": f"Bearer {key}"}
    body = {"model": "naming", "messages": [{"role": "user", "content": "cat"}], **fields}
    return await c.stack.client.post("/v1/chat/completions", json=body, headers=headers)


async def publish(c: Controlled, **changes: Any) -> Snapshot:
    """The last snapshot with these fields."""
    assert c.control.snapshot is not None
    c.version += 1
    snapshot = msgspec.structs.replace(c.control.snapshot, version=c.version, **changes)
    c.control.publish(snapshot)
    await eventually(lambda: c.replicas.snapshot.version == c.version)
    return snapshot


@pytest.mark.usefixtures("both_ways")
async def test_task_that_is_added_and_removed_while_requests_run(tmp_path: Path) -> None:
    async with controlled(tmp_path) as c:
        statuses: Counter[tuple[str, int]] = Counter()
        over = False

        async def ask(model: str) -> None:
            while not over:
                answer = await chat(c, model=model, stream=model == "naming")
                statuses[model, answer.status_code] += 1

        more = {**TWO_TASKS, "extra": {EXTRA: 100.0}}
        async with c.stack.apart() as apart, asyncio.TaskGroup() as asking:
            for model in ("naming", "extra", "concept"):
                asking.create_task(ask(model))
            for _ in range(10):
                c.tasks = more
                await c.tell([c.status()])
                assert says(await apart.chat(model="extra")) == EXTRA
                c.tasks = TWO_TASKS
                await c.tell([c.status()])
                refused = await apart.chat(model="extra")
                assert (refused.status_code, refused.json()["error"]["code"]) == (404, "model_not_found")
            over = True
        assert {status for model, status in statuses if model != "extra"} == {200}
        assert {status for model, status in statuses if model == "extra"} <= {200, 404}
        await c.stack.at_rest()
        assert not any(c.stack.gateway.admission._residency.busy.values())


@pytest.mark.usefixtures("both_ways")
async def test_request_of_a_task_that_is_removed_ends_as_it_began(tmp_path: Path) -> None:
    async with controlled(tmp_path) as c:
        hold = asyncio.Event()
        c.engine.answers[TASKS["naming"]] = Answer(["a", "b"], hold_token={1: hold})
        begun = [asyncio.create_task(chat(c, stream=stream)) for stream in (True, False)]
        await c.engine.until(lambda: c.engine.active == 2)
        await c.tell(None, {"concept": TWO_TASKS["concept"]}, retiring=[TASKS["naming"]])
        assert (await chat(c)).status_code == 404
        hold.set()
        assert [says(await each) for each in begun] == [TASKS["naming"]] * 2
        await c.tell(None, TWO_TASKS)  # it is back, with its places
        assert says(await chat(c)) == TASKS["naming"]
        await c.stack.at_rest()
        assert c.stack.gateway.admission.gates["naming"].in_flight == 0


async def test_request_that_waits_while_its_task_is_removed_ends_as_it_began(tmp_path: Path) -> None:
    async with controlled(tmp_path, max_in_flight=1) as c:
        hold = asyncio.Event()
        c.engine.answers["base"] = Answer(hold_head=hold)
        first = asyncio.create_task(chat(c, model="base"))
        await c.engine.until(lambda: c.engine.active == 1)
        queued = asyncio.create_task(chat(c))
        await eventually(lambda: c.stack.gateway.admission.waiting == 1)
        await c.tell(None, {"concept": TWO_TASKS["concept"]})
        await c.tell([c.status("ready", *TASKS.values())])
        hold.set()
        assert (await first).status_code == 200
        assert says(await queued) == TASKS["naming"]
        await c.stack.at_rest()


async def test_settings_of_a_task_hold_from_the_next_request_on(tmp_path: Path) -> None:
    async with controlled(tmp_path) as c:
        hold = asyncio.Event()
        c.engine.answers[TASKS["naming"]] = Answer(hold_head=hold)
        before = asyncio.create_task(chat(c))
        await c.engine.until(lambda: c.engine.active == 1)
        assert c.control.snapshot is not None
        tasks = dict(c.control.snapshot.tasks)
        settings = {**tasks["naming"].settings, "system": "Say it in French.", "defaults": {"top_p": 0.5}}
        tasks["naming"] = TaskStatus(settings, tasks["naming"].versions)
        await publish(c, tasks=tasks)
        hold.set()
        assert (await before).status_code == 200
        assert (await chat(c)).status_code == 200
        first, second = (one.json for one in c.engine.completions)
        assert first["messages"][0]["content"] == "Name the concept."  # type: ignore[index]
        assert second["messages"][0]["content"] == "Say it in French."  # type: ignore[index]
        assert (second.get("top_p"), second.get("temperature")) == (0.5, None)


async def test_bounds_of_a_task_hold_at_once_for_those_who_wait(tmp_path: Path) -> None:
    async with controlled(tmp_path) as c:
        assert c.control.snapshot is not None
        tasks = dict(c.control.snapshot.tasks)

        def with_places(count: int) -> dict[str, TaskStatus]:
            settings = {**tasks["naming"].settings, "max_in_flight": count}
            return {**tasks, "naming": TaskStatus(settings, tasks["naming"].versions)}

        await publish(c, tasks=with_places(1))
        hold = asyncio.Event()
        c.engine.answers[TASKS["naming"]] = Answer(hold_head=hold)
        asking = [asyncio.create_task(chat(c)) for _ in range(4)]
        await c.engine.until(lambda: c.engine.active == 1)
        await eventually(lambda: c.stack.gateway.admission.waiting == 3)
        await publish(c, tasks=with_places(3))
        await c.engine.until(lambda: c.engine.active == 3)
        await publish(c, tasks=with_places(1))
        hold.set()
        assert {(await each).status_code for each in asking} == {200}
        await c.stack.at_rest()


@pytest.mark.usefixtures("both_ways")
async def test_key_that_is_added_and_removed_while_requests_run(tmp_path: Path) -> None:
    async with controlled(tmp_path, keys={"one": key_of("k1")}) as c:
        hold = asyncio.Event()
        c.engine.answers[TASKS["naming"]] = Answer(["a", "b"], hold_token={1: hold})
        begun = [asyncio.create_task(chat(c, "k1", stream=stream)) for stream in (True, False)]
        await c.engine.until(lambda: c.engine.active == 2)
        assert (await chat(c, "k2")).status_code == 401
        await publish(c, keys={"two": key_of("k2")})
        assert (await chat(c, "k1", model="concept")).status_code == 401
        assert (await chat(c, "k2", model="concept")).status_code == 200
        hold.set()
        assert [(await each).status_code for each in begun] == [200, 200]
        await publish(c, keys={"two": key_of("k2", tasks=["concept"])})
        refused = await chat(c, "k2")
        assert (refused.status_code, refused.json()["error"]["code"]) == (403, "permission_denied")
        assert (await chat(c, "k2", model="concept")).status_code == 200


@pytest.mark.usefixtures("both_ways")
async def test_limits_of_a_tenant_hold_from_the_next_request_on(tmp_path: Path) -> None:
    async with controlled(tmp_path, keys={"one": key_of("k1", tenant="acme")}) as c:
        assert [(await chat(c, "k1")).status_code for _ in range(3)] == [200] * 3
        await publish(c, tenants={"acme": {"limits": {"requests_per_minute": 1}}})
        assert [(await chat(c, "k1")).status_code for _ in range(2)] == [200, 429]
        await publish(c, tenants=None)  # of a control plane that does not tell
        assert (await chat(c, "k1")).status_code == 429
        await publish(c, tenants={})
        assert (await chat(c, "k1")).status_code == 200


async def test_keys_of_a_file_are_not_taken_over(tmp_path: Path) -> None:
    """A file of a former life must not bring a revoked key back, nor open the gateway to all."""
    for keys in ({"old": key_of("revoked")}, {}):
        replicas = Replicas(config_of(tmp_path, keys={"new": key_of("new", tasks=["naming", "concept"])}))
        admission = Admission(replicas.config)
        guard = DeathGuard(tmp_path, 1, 1.0)
        follower = Follower(
            Control(tmp_path), replicas, admission, WaitingRoom(replicas), guard, Upkeep(print)
        )
        snapshot = snapshot_with(replicas.config, [], {"concept": {TASKS["concept"]: 100.0}}, 9, keys=keys)
        follower._apply(snapshot, heard=False)
        assert set(replicas.config.keys) == {"new"}
        assert replicas.config.keys["new"].tasks == ["concept"]  # of its two the one that there is
        assert set(replicas.config.tasks) == {"concept"}
        follower._apply(snapshot)  # the control plane itself may
        assert set(replicas.config.keys) == set(keys)


async def test_revoked_key_stays_revoked_where_only_a_file_is_left(tmp_path: Path) -> None:
    async with stack(tmp_path, keys={"new": key_of("new")}) as s:
        with pytest.raises(Unauthorized):
            s.gateway._keys.principal(b"Bearer revoked")
        assert s.gateway._keys.principal(b"Bearer new").name == "new"
        assert s.gateway.replicas.snapshot.version == 1


@pytest.mark.parametrize(
    "broken",
    [
        {"tasks": {"base": TaskStatus({"adapter": "/a"}, [VersionStatus("base@1")])}},
        {"tasks": {"naming": TaskStatus({"adapter": "/a", "no such key": 1}, [])}},
        {"tasks": {"../etc": TaskStatus({"adapter": "/a"}, [])}},
        {"pipelines": {"p": {"stages": [{"id": "a", "task": "nobody", "prompt": "x"}]}}},
        {"pipelines": {"p": {"stages": [{"id": "a", "task": "naming", "prompt": "{{ x"}]}}},
        {"keys": {"k": {"sha256": "secret-key-itself"}}},
        {"keys": {"a": key_of("x"), "b": key_of("x")}},
    ],
)
async def test_configuration_that_cannot_be_is_refused_whole(
    tmp_path: Path, broken: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    async with controlled(tmp_path, keys={"one": key_of("k1")}) as c:
        before = c.replicas.config
        with caplog.at_level(logging.ERROR):
            await publish(c, **broken, retiring=["x@1"])
        assert "is refused" in caplog.text
        assert "secret-key-itself" not in caplog.text
        assert c.replicas.config is before
        assert set(c.replicas.table.routes) == {"base", "naming", "concept", "concept-naming"}
        assert (await chat(c, "k1", model="base")).status_code == 200
        await publish(c, tasks=snapshot_with(before, [], TWO_TASKS).tasks, pipelines={}, keys={})
        assert set(c.replicas.table.routes) == {"base", "naming", "concept"}
        assert (await chat(c)).status_code == 200  # the next one that can be is in force


async def test_pipeline_that_changes_while_it_runs(tmp_path: Path) -> None:
    async with controlled(tmp_path) as c:
        hold = asyncio.Event()
        c.engine.answers[TASKS["concept"]] = Answer(
            ['{"concepts": [{"definition": "a"}]}'], hold_token={0: hold}
        )
        c.engine.answers[TASKS["naming"]] = Answer(['"x"'])
        asking = asyncio.create_task(chat(c, model="concept-naming"))
        await c.engine.until(lambda: c.engine.active == 1)
        assert c.control.snapshot is not None
        short = {"stages": [{"id": "only", "task": "naming", "prompt": "{{ text }}"}]}
        await publish(c, pipelines={"concept-naming": short, "other": short})
        assert (await chat(c, model="concept-naming")).headers["x-gateway-adapter"] == TASKS["naming"]
        assert (await chat(c, model="other")).status_code == 200
        await publish(c, pipelines={})
        assert (await chat(c, model="concept-naming")).status_code == 404
        hold.set()
        answer = await asking
        assert answer.status_code == 200
        assert answer.headers["x-gateway-adapter"] == ",".join(TASKS[name] for name in ("concept", "naming"))


STATES: tuple[tuple[EngineStateName, str], ...] = (
    ("stopped", "engine_not_running"),
    ("starting", "engine_starting"),
    ("ready", ""),
    ("draining", "engine_not_running"),
    ("sleeping", "engine_starting"),
    ("failed", "engine_not_running"),
)


@pytest.mark.parametrize(("state", "code"), STATES)
async def test_what_each_endpoint_says_of_each_state(
    tmp_path: Path, state: EngineStateName, code: str
) -> None:
    async with controlled(tmp_path) as c:
        assert says(await c.stack.chat()) == TASKS["naming"]
        await c.state(state, stage="here", reason="why" if state == "failed" else "")
        health = await c.health()
        assert (health["status"], health["engine"], health["stage"]) == ("ok", state, "here")
        assert health["control_plane"] is True
        assert health["engines"][0]["reason"] == ("why" if state == "failed" else "")
        c.stack.gateway.readiness._proven_until = 0.0
        ready = await c.get("/ready")
        listed = {one["id"]: one["root"] for one in (await c.get("/v1/models")).json()["data"]}
        assert set(listed) == {"base", "concept", "naming", "concept-naming"}
        if state == "ready":
            assert ready.status_code == 200
            assert listed["naming"] == TASKS["naming"]
        else:
            assert (ready.status_code, ready.json()["error"]["code"]) == (503, code)
            assert int(ready.headers["retry-after"]) >= 1
            assert set(listed.values()) == {None}
        await c.stack.at_rest()
        gauges = {key: value for key, value in c.stack.samples().items() if "in_flight" in key[0]}
        assert set(gauges.values()) == {0.0}


async def test_ready_follows_the_engine_and_not_its_last_success(tmp_path: Path) -> None:
    async with controlled(tmp_path) as c:
        assert (await c.get("/ready")).status_code == 200
        await c.state("stopped")
        assert (await c.get("/ready")).status_code == 503
        c.engine.answers["base"] = Answer(status=500)
        await c.state("ready")
        assert (await c.get("/ready")).json()["error"]["code"] == "engine_unready"


async def test_residency_is_in_health_and_metrics_where_not_all_fit(tmp_path: Path) -> None:
    async with controlled(tmp_path) as c:
        assert ("adapter_resident", f"adapter={TASKS['naming']}") not in c.stack.samples()
        await c.state("ready", *TASKS.values(), slots=1)
        hold = asyncio.Event()
        c.engine.answers[TASKS["naming"]] = Answer(hold_head=hold)
        first = asyncio.create_task(chat(c))
        await c.engine.until(lambda: c.engine.active == 1)
        second = asyncio.create_task(chat(c, model="concept"))
        await eventually(lambda: c.stack.gateway.admission.waiting == 1)
        shown = {one["adapter"]: one for one in (await c.health())["residency"]}
        assert shown[TASKS["naming"]]["resident_s"] is not None
        assert (shown[TASKS["concept"]]["resident_s"], shown[TASKS["concept"]]["waiting"]) == (None, 1)
        assert c.stack.samples()["adapter_resident", f"adapter={TASKS['naming']}"] == 1
        hold.set()
        assert [(await each).status_code for each in (first, second)] == [200, 200]
        samples = c.stack.samples()
        assert samples["adapter_resident", f"adapter={TASKS['concept']}"] == 1
        assert samples["adapter_resident", f"adapter={TASKS['naming']}"] == 0
        await c.state("ready", *TASKS.values(), slots=2)
        assert c.stack.samples()["adapter_resident", f"adapter={TASKS['concept']}"] == 0


DEATH = "RuntimeError: it said /home/x/.cache/secret-token"


async def test_why_an_engine_died_is_only_for_who_may_call_all(tmp_path: Path) -> None:
    some = key_of("some", tasks=["concept"])
    keys = {"all": key_of("all"), "some": some, "root": {**some, **key_of("root"), "role": "admin"}}
    async with controlled(tmp_path, keys=keys) as c:
        await c.state("failed", reason=DEATH)
        for key in ("all", "root", "some", "nobody", None):
            headers = {"authorization": f"Bearer {key}"} if key else {}
            ready = await c.get("/ready", **headers)
            assert (ready.status_code, ready.json()["error"]["code"]) == (503, "engine_not_running")
            assert (DEATH in ready.text) == (key in ("all", "root"))
        for key in ("all", "some"):
            asked = await chat(c, key, model="concept")
            assert (asked.status_code, asked.json()["error"]["code"]) == (503, "engine_not_running")
            assert "secret" not in asked.text
        await c.state("starting", stage="proving naming@bbbbbbbbbbbb")
        assert "naming" not in (await c.get("/health")).text + (await c.get("/ready")).text
        assert "naming@" in (await c.get("/health", authorization="Bearer all")).text


async def test_why_an_adapter_is_not_loaded_stays_here_where_there_are_keys(tmp_path: Path) -> None:
    async with controlled(tmp_path, keys={"all": key_of("all")}) as c:
        snapshot = c.control.snapshot
        assert snapshot is not None
        task = snapshot.tasks["naming"]
        failed = VersionStatus("naming@cccccccccccc", state="failed", reason=DEATH)
        tasks = {**snapshot.tasks, "naming": TaskStatus(task.settings, [failed])}
        await publish(c, engines=[c.status("ready", TASKS["concept"])], tasks=tasks)
        await eventually(lambda: c.replicas.snapshot.version == c.version)
        answer = await chat(c, "all")
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "adapter_not_loaded")
        assert "secret" not in answer.text
        assert "adapters show naming" in answer.json()["error"]["message"]


async def test_health_tells_names_only_to_who_may_call_all(tmp_path: Path) -> None:
    keys = {"all": key_of("all"), "some": key_of("some", tasks=["concept"])}
    async with controlled(tmp_path, keys=keys) as c:
        await c.state("failed", reason="it said /a/path")
        for key in ("all", "some", "nobody"):
            health = (await c.get("/health", authorization=f"Bearer {key}")).json()
            assert health["engine"] == "failed"
            assert ("residency" in health) == ("reason" in health["engines"][0]) == (key == "all")
