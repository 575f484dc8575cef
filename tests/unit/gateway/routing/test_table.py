"""Several versions of one task: who gets which, and that a pointer that moves moves at once."""

from __future__ import annotations

import asyncio
import hashlib
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import pytest

from gateway.routing.table import Loaded, Route, build_table, point_of
from tests.fakes.fake_engine import Answer
from tests.support.controlled import TWO_TASKS, controlled, says
from tests.support.stack import config_of, eventually, key_of

OLD, NEW, THIRD = "naming@aaaaaaaaaaaa", "naming@bbbbbbbbbbbb", "naming@cccccccccccc"
KEYS = [b'"user-%d"' % number for number in range(4000)]


def route_of(folder: Path, weights: Mapping[str, float]) -> Route:
    loaded = [Loaded(adapter_id, weight) for adapter_id, weight in weights.items()]
    return build_table(config_of(folder), {"naming": loaded}).routes["naming"]


def chosen(route: Route) -> dict[bytes, str | None]:
    return {key: route.pick(key).adapter_id for key in KEYS}


@pytest.mark.parametrize("weights", [(90, 10), (50, 50), (99.5, 0.5), (9, 1), (60, 30, 10)])
@pytest.mark.parametrize("sticky", [True, False])
def test_requests_are_split_by_weight(tmp_path: Path, weights: tuple[float, ...], sticky: bool) -> None:
    ids = (OLD, NEW, THIRD)[: len(weights)]
    route = route_of(tmp_path, dict(zip(ids, weights, strict=True)))
    counts = Counter(route.pick(key if sticky else None).adapter_id for key in KEYS)
    for adapter_id, weight in zip(ids, weights, strict=True):
        expected = weight / sum(weights)
        # Five standard deviations of a count: one in two million.
        allowed = 5 * (expected * (1 - expected) / len(KEYS)) ** 0.5
        assert counts[adapter_id] / len(KEYS) == pytest.approx(expected, abs=allowed)


def test_same_key_gets_the_same_version_in_every_process_and_order(tmp_path: Path) -> None:
    one = chosen(route_of(tmp_path, {OLD: 70, NEW: 30}))
    assert one == chosen(route_of(tmp_path, {OLD: 70, NEW: 30}))
    assert one == chosen(route_of(tmp_path, {NEW: 3, OLD: 7}))
    # A fixed value: Python's own hashes differ from process to process.
    digest = hashlib.blake2b(NEW.encode() + b'\0"ann"', digest_size=8).digest()
    assert point_of(NEW.encode(), b'"ann"') == (int.from_bytes(digest) + 1) / 2**64


def test_more_weight_only_moves_requests_towards_a_version(tmp_path: Path) -> None:
    before: set[bytes] = set()
    for weight in (0.5, 1, 5, 10, 25, 50, 75, 99, 99.9):
        now = {
            key
            for key, at in chosen(route_of(tmp_path, {OLD: 100 - weight, NEW: weight})).items()
            if at == NEW
        }
        assert before <= now
        before = now
    assert len(before) > 0.98 * len(KEYS)


def test_third_version_takes_from_the_others_and_moves_nobody_between_them(tmp_path: Path) -> None:
    two = chosen(route_of(tmp_path, {OLD: 60, NEW: 40}))
    three = chosen(route_of(tmp_path, {OLD: 54, NEW: 36, THIRD: 10}))
    assert {at for key, at in three.items() if at != two[key]} == {THIRD}
    one = chosen(route_of(tmp_path, {NEW: 36, THIRD: 10}))
    assert all(one[key] == at for key, at in three.items() if at != OLD)


def test_next_candidate_is_tried_by_other_clients(tmp_path: Path) -> None:
    first = {k for k, at in chosen(route_of(tmp_path, {OLD: 90, NEW: 10})).items() if at == NEW}
    second = {k for k, at in chosen(route_of(tmp_path, {OLD: 90, THIRD: 10})).items() if at == THIRD}
    assert len(first & second) < 0.25 * len(first)


def test_a_pipeline_can_be_answered_once_all_its_stages_can(tmp_path: Path) -> None:
    loaded = {"naming": [Loaded(OLD)]}
    versions = {OLD: True, NEW: False}
    assert build_table(config_of(tmp_path), loaded, versions=versions).servable == {"naming", OLD}
    loaded |= {"concept": [Loaded("concept@aaaaaaaaaaaa")], "base": [Loaded("base")]}
    every = {"naming", "concept", "base", "concept-naming"}
    assert build_table(config_of(tmp_path), loaded).servable == every


def test_route_of_a_version_is_whole(tmp_path: Path) -> None:
    route = route_of(tmp_path, {OLD: 50, NEW: 50})
    for key in KEYS[:50]:
        version = route.pick(key)
        assert version.adapter_id is not None
        assert version.adapter_bytes == version.adapter_id.encode()
        assert bytes(version.model_json) == b'"%s"' % version.adapter_bytes
        assert (version.name, version.versions, version.contract) == ("naming", (), route.contract)


def naming(**weights: float) -> dict[str, Mapping[str, float]]:
    ids = {"old": OLD, "new": NEW, "third": THIRD}
    return {**TWO_TASKS, "naming": {ids[name]: weight for name, weight in weights.items()}}


@pytest.mark.anyio
@pytest.mark.usefixtures("both_ways")
async def test_user_and_key_stick_to_a_version(tmp_path: Path) -> None:
    digests = {name: key_of(name) for name in ("a", "b", "c", "d")}
    async with controlled(tmp_path, keys=digests) as c:
        c.tasks = naming(old=50, new=50)
        await c.tell([c.status()])

        async def ask(key: str, **fields: object) -> str:
            c.stack.client.headers["authorization"] = f"Bearer {key}"
            return says(await c.stack.chat(**fields))

        by_user = {}
        for user in range(12):
            by_user[user] = {await ask(key, user=f"u{user}", stream=key == "b") for key in "abc"}
        assert all(len(versions) == 1 for versions in by_user.values())
        assert set().union(*by_user.values()) == {OLD, NEW}
        by_key = {key: {await ask(key) for _ in range(4)} for key in digests}
        assert all(len(versions) == 1 for versions in by_key.values())


@pytest.mark.anyio
async def test_nobody_in_particular_gets_either(tmp_path: Path) -> None:
    async with controlled(tmp_path) as c:
        c.tasks = naming(old=50, new=50)
        await c.tell([c.status()])
        assert {says(await c.stack.chat(user="")) for _ in range(40)} == {OLD, NEW}


@pytest.mark.anyio
@pytest.mark.usefixtures("both_ways")
async def test_promote_and_rollback_move_the_pointer_at_once(tmp_path: Path) -> None:
    async with controlled(tmp_path) as c:
        steps: list[tuple[dict[str, Mapping[str, float]], set[str]]] = [
            (naming(old=100), {OLD}),
            (naming(old=90, new=10), {OLD, NEW}),
            (naming(old=0, new=100), {NEW}),
            (naming(old=100, new=0), {OLD}),
            (naming(new=100), {NEW}),
        ]
        for tasks, expected in steps:
            c.tasks = tasks
            await c.tell([c.status("ready", OLD, NEW, "concept@aaaaaaaaaaaa")])
            answers = await asyncio.gather(*(c.stack.chat(user=f"u{number}") for number in range(60)))
            assert {says(answer) for answer in answers} == expected


@pytest.mark.anyio
@pytest.mark.usefixtures("both_ways")
async def test_retired_id_gets_no_new_request_and_ends_the_old_ones(tmp_path: Path) -> None:
    async with controlled(tmp_path) as c:
        c.tasks = naming(old=100)
        await c.tell([c.status()])
        hold = asyncio.Event()
        c.engine.answers[OLD] = Answer(["a", "b"], hold_token={1: hold})
        begun = [asyncio.create_task(c.stack.chat(stream=number % 2 == 0)) for number in range(6)]
        await c.engine.until(lambda: c.engine.active == 6)
        c.tasks = naming(new=100)
        await c.tell([c.status("ready", OLD, NEW)], retiring=[OLD])
        assert [says(await c.stack.chat()) for _ in range(5)] == [NEW] * 5
        assert sum(one.json["model"] == OLD for one in c.engine.completions) == 6
        await c.control.until_reported(lambda report: report.busy == [OLD])
        hold.set()
        assert {says(await each) for each in begun} == {OLD}
        await c.control.until_reported(lambda report: report.busy == [])
        await c.stack.at_rest()


@pytest.mark.anyio
async def test_version_that_no_engine_has_yet_gets_nothing(tmp_path: Path) -> None:
    async with controlled(tmp_path) as c:
        c.tasks = naming(old=1, new=99)
        await c.tell([c.status("ready", OLD)])
        assert {says(await c.stack.chat(user=f"u{number}")) for number in range(20)} == {OLD}
        await c.tell([c.status("ready", NEW)])
        assert {says(await c.stack.chat(user=f"u{number}")) for number in range(20)} == {NEW}
        await c.tell([c.status("ready", "concept@aaaaaaaaaaaa")])
        answer = await c.stack.chat()
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "adapter_not_loaded")
        assert int(answer.headers["retry-after"]) > 0
        await eventually(lambda: not c.stack.gateway.admission.in_flight)


@pytest.mark.anyio
async def test_failed_version_says_why(tmp_path: Path) -> None:
    async with controlled(tmp_path) as c:
        snapshot = c.control.snapshot
        assert snapshot is not None
        task = snapshot.tasks["naming"]
        failed = type(task.versions[0])(OLD, state="failed", reason="its canary had no effect")
        c.control.publish(
            type(snapshot)(
                2,
                "base",
                [c.status("ready", "concept@aaaaaaaaaaaa")],
                {**snapshot.tasks, "naming": type(task)(task.settings, [failed])},
                snapshot.pipelines,
                snapshot.keys,
            )
        )
        await eventually(lambda: c.replicas.snapshot.version == 2)
        answer = await c.stack.chat()
        assert answer.status_code == 503
        assert "its canary had no effect" in answer.json()["error"]["message"]
