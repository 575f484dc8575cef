"""`/v1/batches`: what is made of an input, and what is refused before anything is run."""

from __future__ import annotations

import asyncio
import hashlib
import json
from pathlib import Path

import msgspec
import pytest

from gateway.admission.quotas.scopes import Scope
from tests.fakes.fake_engine import Answer
from tests.support.batches.batch_stack import (
    CHAT,
    Document,
    create,
    error_of,
    line,
    results,
    shown,
    text_of,
    timed_stack,
    until,
    upload,
)
from tests.support.stack import TASKS, Stack, eventually, write_report

pytestmark = pytest.mark.anyio

NAMING = "naming@bbbbbbbbbbbb"


def pipeline_answers(made: Stack) -> None:
    """The naming task's answers are JSON strings, as its schema wants them."""
    concepts = '{"concepts": [{"definition": "a fruit", "members": ["apple"]}]}'
    made.engine.answers["concept@aaaaaaaaaaaa"] = Answer([concepts])
    made.engine.answers[NAMING] = Answer(['"Par', 'is"'])


def counts_of(batch: Document) -> dict[str, int]:
    counts = batch["request_counts"]
    assert isinstance(counts, dict)
    return counts


def flaws_of(batch: Document) -> list[tuple[str, int | None, str | None]]:
    errors = batch["errors"]
    assert isinstance(errors, dict)
    return [(each["code"], each["line"], each["param"]) for each in errors["data"]]


async def test_batch_runs_tasks_and_pipelines_and_its_files_say_what_came(tmp_path: Path) -> None:
    async with timed_stack(tmp_path) as made:
        pipeline_answers(made)
        lines = [line(1), line(2, "base"), line(3, "concept-naming", "apple"), line(4, messages="no")]
        batch_id = await create(made, lines, metadata={"run": "7"})
        batch = await until(made, batch_id, "completed")
        assert counts_of(batch) == {"total": 4, "completed": 3, "failed": 1}
        assert batch["metadata"] == {"run": "7"}
        output, errors = await results(made, batch)
        assert set(output) == {"r1", "r2", "r3"}
        assert text_of(output["r1"]) == '"Paris"'
        assert json.loads(str(text_of(output["r3"])))["concepts"][0]["name"] == "Paris"
        assert output["r1"]["error"] is None
        assert error_of(errors["r4"])["param"] == "messages"
        usage = batch["usage"]
        assert isinstance(usage, dict)
        assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"] > 0
        first, last = batch["created_at"], batch["completed_at"]
        assert first <= batch["in_progress_at"] <= batch["finalizing_at"] <= last  # type: ignore[operator]
        asked = [request.json for request in made.engine.completions if request.json["model"] == NAMING]
        assert asked[0]["max_tokens"] == 24  # the task's contract
        counted = made.samples()
        assert (
            counted["requests_total", f"adapter={NAMING}", "origin=batch", "status=200", "task=naming"] == 1
        )
        await made.at_rest()


async def test_lines_may_ask_for_a_version_by_its_id(tmp_path: Path) -> None:
    async with timed_stack(tmp_path) as made:
        batch = await until(made, await create(made, [line(1, NAMING)]), "completed")
        assert counts_of(batch) == {"total": 1, "completed": 1, "failed": 0}
        batch = await until(made, await create(made, [line(1, "naming@dddddddddddd")]), "failed")
        assert [code for code, *_ in flaws_of(batch)] == ["model_not_found"]


async def test_batch_without_failures_has_no_error_file(tmp_path: Path) -> None:
    async with timed_stack(tmp_path) as made:
        batch = await until(made, await create(made, [line(1)]), "completed")
        assert batch["error_file_id"] is None
        output = await made.client.get(f"/v1/files/{batch['output_file_id']}")
        assert output.json()["purpose"] == "batch_output"
        names = {path.name for path in (tmp_path / "batches" / "files").iterdir()}
        assert names == {batch["input_file_id"], batch["output_file_id"]}
        refused = await made.client.post(
            "/v1/batches",
            json={"input_file_id": batch["output_file_id"], "endpoint": CHAT, "completion_window": "24h"},
        )
        assert (refused.status_code, refused.json()["error"]["param"]) == (400, "input_file_id")


async def test_text_completions_have_batches(tmp_path: Path) -> None:
    async with timed_stack(tmp_path) as made:
        asked = {"custom_id": "a", "method": "POST", "url": "/v1/completions"}
        lines: list[Document] = [{**asked, "body": {"model": "base", "prompt": "x"}}]
        batch = await until(made, await create(made, lines, "/v1/completions"), "completed")
        output, _ = await results(made, batch)
        response = output["a"]["response"]
        assert isinstance(response, dict)
        assert response["body"]["choices"][0]["text"] == "Paris"


@pytest.mark.parametrize(
    ("lines", "flaws"),
    [
        (b"\n \n", [("empty_file", None, None)]),
        (b"no json\n", [("invalid_json_line", 1, None)]),
        (b'\x00\xff\xfe{"a"', [("invalid_json_line", 1, None)]),
        ([line(1, "namng")], [("model_not_found", 1, "body.model")]),
        ([line(1), line(1)], [("duplicate_custom_id", 2, "custom_id")]),
        ([{**line(1), "url": "/v1/completions"}], [("mismatched_endpoint", 1, "url")]),
        ([{**line(1), "method": "GET"}], [("invalid_method", 1, "method")]),
        ([{**line(1), "body": 3}], [("invalid_request", 1, "body")]),
        ([{**line(1), "body": {}}], [("missing_required_parameter", 1, "body.model")]),
        ([{**line(1), "method": None, "metod": "POST"}], [("unsupported_parameter", 1, "metod")]),
        ([{"custom_id": 7}], [("invalid_request", 1, "custom_id")]),
        ([line(1), {}, line(2)], [("missing_required_parameter", 2, "custom_id")]),
        ([line(n) for n in range(6)], [("too_many_requests", None, None)]),
        ([line(1, text="x" * 80_000)], [("line_too_long", 1, None)]),
    ],
)
async def test_input_that_cannot_be_run_fails_with_the_lines_at_fault(
    tmp_path: Path, lines: bytes | list[Document], flaws: list[tuple[str, int | None, str | None]]
) -> None:
    async with timed_stack(tmp_path, batches={"max_lines": 5}, max_body_bytes=1000) as made:
        batch = await until(made, await create(made, lines), "failed")
        assert flaws_of(batch) == flaws
        assert batch["failed_at"]
        assert (batch["output_file_id"], batch["error_file_id"]) == (None, None)
        assert not made.engine.completions


async def test_line_whose_body_is_larger_than_a_clients_may_be_is_refused_by_itself(tmp_path: Path) -> None:
    async with timed_stack(tmp_path, max_body_bytes=1000) as made:
        batch = await until(made, await create(made, [line(1), line(2, text="x" * 1000)]), "completed")
        output, errors = await results(made, batch)
        assert (set(output), set(errors)) == ({"r1"}, {"r2"})
        assert "gateway.max_body_bytes" in str(error_of(errors["r2"])["message"])


async def test_unknown_model_is_named_with_the_nearest(tmp_path: Path) -> None:
    async with timed_stack(tmp_path) as made:
        batch = await until(made, await create(made, [line(1, "namng")]), "failed")
        errors = batch["errors"]
        assert isinstance(errors, dict)
        assert "Did you mean 'naming'?" in errors["data"][0]["message"]


async def test_of_many_errors_a_hundred_are_listed(tmp_path: Path) -> None:
    async with timed_stack(tmp_path) as made:
        batch = await until(made, await create(made, b"x\n" * 250), "failed")
        errors = batch["errors"]
        assert isinstance(errors, dict)
        assert [each["line"] for each in errors["data"]] == [*range(1, 101), None]
        assert errors["data"][-1]["message"].startswith("150 more lines")


@pytest.mark.parametrize(
    ("change", "status", "param"),
    [
        ({"endpoint": "/v1/images"}, 400, "endpoint"),
        ({"completion_window": "7d"}, 400, "completion_window"),
        ({"input_file_id": "file-none"}, 404, "input_file_id"),
        ({"input_file_id": None}, 400, "input_file_id"),
        ({"metadata": {"a": 3}}, 400, "metadata.a"),
        ({"metadata": {str(n): "x" for n in range(17)}}, 400, "metadata"),
        (
            {"output_expires_after": {"anchor": "created_at", "seconds": 5}},
            400,
            "output_expires_after.seconds",
        ),
        ({"priority": 3}, 400, "priority"),
    ],
)
async def test_bad_create_is_refused(tmp_path: Path, change: Document, status: int, param: str) -> None:
    async with timed_stack(tmp_path) as made:
        file_id = await upload(made, [line(1)])
        body = {"input_file_id": file_id, "endpoint": CHAT, "completion_window": "24h", **change}
        answer = await made.client.post("/v1/batches", json=body)
        assert (answer.status_code, answer.json()["error"]["param"]) == (status, param), answer.text
        assert (await made.client.get("/v1/batches")).json()["data"] == []


async def test_stream_is_that_lines_error(tmp_path: Path) -> None:
    async with timed_stack(tmp_path) as made:
        batch = await until(made, await create(made, [line(1, stream=True), line(2)]), "completed")
        output, errors = await results(made, batch)
        assert set(output) == {"r2"}
        assert error_of(errors["r1"])["code"] == "unsupported_parameter"


async def test_priority_is_the_gateways_to_set(tmp_path: Path) -> None:
    async with timed_stack(tmp_path) as made:
        replicas = made.gateway.replicas
        (engine,) = replicas.snapshot.engines
        replicas.apply(
            msgspec.structs.replace(
                replicas.snapshot,
                version=replicas.snapshot.version + 1,
                engines=[msgspec.structs.replace(engine, priorities=True)],
            )
        )
        pipeline_answers(made)
        lines = [line(1), line(2, "concept-naming", "apple"), line(3, priority=-5)]
        batch = await until(made, await create(made, lines), "completed")
        _, errors = await results(made, batch)
        assert not errors
        assert [request.json["priority"] for request in made.engine.completions] == [100] * 4
        answer = await made.chat(priority=-5)
        assert answer.headers["x-gateway-ignored"] == "priority"
        assert "priority" not in made.engine.completions[-1].json


async def test_lines_wait_for_an_engine_and_do_not_fail(tmp_path: Path) -> None:
    async with timed_stack(tmp_path, ready=False) as made:
        batch_id = await create(made, [line(1), line(2)])
        await until(made, batch_id, "in_progress")
        await eventually(lambda: made.gateway.room.waiting == 1)  # one place for both
        write_report(made.gateway.replicas.config, url=made.engine.url, state="ready", started_at=1.0)
        assert counts_of(await until(made, batch_id, "completed"))["completed"] == 2
        assert made.gateway.room.waiting == 0


async def test_finished_batch_cannot_be_cancelled(tmp_path: Path) -> None:
    async with timed_stack(tmp_path) as made:
        batch_id = await create(made, [line(1)])
        await until(made, batch_id, "completed")
        answer = await made.client.post(f"/v1/batches/{batch_id}/cancel")
        error = answer.json()["error"]
        assert (answer.status_code, error["code"]) == (409, "batch_not_cancellable")
        assert "Cannot cancel a batch with status 'completed'" in error["message"], "as OpenAI says it"
        assert (await made.client.post("/v1/batches/batch_none/cancel")).status_code == 404


async def test_batches_are_listed_the_newest_first(tmp_path: Path) -> None:
    async with timed_stack(tmp_path) as made:
        ids = [await create(made, [line(1)]) for _ in range(3)]
        page = (await made.client.get("/v1/batches?limit=2")).json()
        assert ([each["id"] for each in page["data"]], page["has_more"]) == ([ids[2], ids[1]], True)
        page = (await made.client.get(f"/v1/batches?limit=2&after={page['last_id']}")).json()
        assert ([each["id"] for each in page["data"]], page["has_more"]) == ([ids[0]], False)
        assert (await made.client.get("/v1/batches?limit=101")).status_code == 400
        assert (await made.client.get("/v1/batches?after=batch_none")).status_code == 404


async def test_unfinished_batches_of_a_key_are_bounded(tmp_path: Path) -> None:
    async with timed_stack(tmp_path, batches={"max_open": 1}) as made:
        held = asyncio.Event()
        made.engine.answers[NAMING] = Answer(hold_head=held)
        batch_id = await create(made, [line(1)])
        body = {"input_file_id": await upload(made, [line(1)]), "endpoint": CHAT, "completion_window": "24h"}
        refused = await made.client.post("/v1/batches", json=body)
        assert (refused.status_code, refused.headers["retry-after"]) == (429, "60")
        held.set()
        await until(made, batch_id, "completed")
        assert (await made.client.post("/v1/batches", json=body)).status_code == 200


async def test_permission_is_checked_for_each_line_when_it_is_run(tmp_path: Path) -> None:
    async with timed_stack(tmp_path, batches={"max_in_flight": 1}) as made:
        keys: dict[str, Document] = {
            "team-a": {"sha256": hashlib.sha256(b"a").hexdigest(), "tasks": ["naming", "base"]}
        }

        def permit(document: dict[str, Document]) -> None:
            snapshot = made.gateway.replicas.snapshot
            made.gateway.replicas.apply(
                msgspec.structs.replace(snapshot, version=snapshot.version + 1, keys=document)
            )

        permit(keys)
        made.client.headers["authorization"] = "Bearer a"
        failed = await until(made, await create(made, [line(1, "concept")]), "failed")
        assert flaws_of(failed) == [("permission_denied", 1, "body.model")]
        held = asyncio.Event()
        made.engine.answers[NAMING] = Answer(hold_head=held)
        batch_id = await create(made, [line(1), line(2, "base"), line(3)])
        await made.engine.until(lambda: made.engine.active == 1)
        permit({"team-a": {**keys["team-a"], "tasks": ["naming"]}})
        held.set()
        output, errors = await results(made, await until(made, batch_id, "completed"))
        assert set(output) == {"r1", "r3"}
        assert error_of(errors["r2"])["code"] == "permission_denied"
        held.clear()
        batch_id = await create(made, [line(1), line(2)])
        await made.engine.until(lambda: made.engine.active == 1)
        permit({"team-b": {"sha256": hashlib.sha256(b"a").hexdigest()}})
        held.set()
        await eventually(lambda: not made.gateway.batches.runner.running)
        assert (await made.client.get(f"/v1/batches/{batch_id}")).status_code == 404  # now another's
        permit(keys)
        output, errors = await results(made, await shown(made, batch_id))
        assert set(output) == {"r1"}
        assert error_of(errors["r2"])["code"] == "invalid_api_key"


@pytest.mark.parametrize("model", ["naming", "concept-naming"])
async def test_a_batch_that_is_cancelled_gives_back_what_its_lines_held_of_limits(
    tmp_path: Path, model: str
) -> None:
    def scope_of(made: Stack) -> Scope:
        (scope,) = made.gateway.quotas.scopes.of_key("team")
        return scope

    limits = {"max_in_flight": 2, "tokens_per_day": 100_000}
    async with timed_stack(
        tmp_path, keys={"team": {"sha256": hashlib.sha256(b"own").hexdigest(), "limits": limits}}
    ) as made:
        made.client.headers["authorization"] = "Bearer own"
        for adapter in TASKS.values():
            made.engine.answers[adapter] = Answer(hold_head=asyncio.Event())
        batch_id = await create(made, [line(number, model) for number in (1, 2)])
        await eventually(lambda: made.engine.active == 2)
        assert (await made.chat()).status_code == 429
        await made.client.post(f"/v1/batches/{batch_id}/cancel")
        await until(made, batch_id, "cancelled")
        made.engine.answers.clear()
        assert (await made.chat()).status_code == 200
        (used,) = [one for one in made.gateway.quotas.spent(scope_of(made)) if one.bound == "tokens_per_day"]
        assert used.used < 500, "what was reserved for their answers is not used"
