"""`/v1/messages` and `/v1/messages/count_tokens`: Anthropic's keys, errors, events, and a task's contract."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.fakes.fake_engine import Answer, recorded
from tests.support.controlled import controlled
from tests.support.named_events import (
    answer_after_a_wait,
    check_untouched_stream,
    concept_names,
    counted,
    events,
    pipeline_answers,
    sent,
)
from tests.support.stack import TASKS, Stack, key_of, stack

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("both_ways")]
PATH = "/v1/messages"
COUNT = "/v1/messages/count_tokens"
NAMING = TASKS["naming"]
USER = [{"role": "user", "content": "cat"}]
FORMAT = {"type": "json_schema", "schema": {"type": "string"}}
KEY = "sk-lora-anthropic"
KEYS = {
    "a": key_of(KEY, tasks=["naming"]),
    "b": key_of("other"),
}


async def ask(
    s: Stack, path: str = PATH, head: dict[str, str] | None = None, **fields: Any
) -> httpx.Response:
    body = {"model": "naming", "messages": USER, "max_tokens": 9, **fields}
    given = {key: value for key, value in body.items() if value is not ...}
    return await s.client.post(path, json=given, headers=head)


def fault(answer: httpx.Response) -> tuple[int, str, str]:
    """Status, type and message, of an answer that is Anthropic's error in full."""
    document = answer.json()
    assert set(document) == {"type", "error", "request_id"}
    assert set(document["error"]) == {"type", "message"}
    assert document["type"] == "error"
    assert document["request_id"] == answer.headers["request-id"] == answer.headers["x-request-id"]
    return answer.status_code, document["error"]["type"], document["error"]["message"]


async def test_contract_is_written_into_its_fields(tmp_path: Path) -> None:
    async with stack(tmp_path) as s:
        answer = await ask(s)
        assert answer.json()["content"] == [{"type": "text", "text": "Paris"}]
        assert answer.headers["request-id"] == answer.headers["x-request-id"]
        assert s.engine.completions[0].path == PATH
        assert s.engine.completions[0].json == {
            "model": NAMING,
            "messages": USER,
            "max_tokens": 9,
            "system": "Name the concept.",
            "temperature": 0,
            "output_config": {"format": FORMAT},
        }
        await s.at_rest()


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"system": "mine"}, {"system": "mine"}),
        ({"system": [{"type": "text", "text": "mine"}]}, {"system": [{"type": "text", "text": "mine"}]}),
        ({"system": None}, {"system": "Name the concept."}),
        ({"messages": [{"role": "system", "content": "x"}, *USER]}, {"system": None}),
        ({"temperature": 1.0}, {"temperature": 1.0}),
        (
            {"output_config": {"effort": "low"}},
            {"output_config": {"effort": "low", "format": FORMAT}},
        ),
    ],
)
async def test_a_clients_own_settings_stand(
    tmp_path: Path, given: dict[str, Any], expected: dict[str, Any]
) -> None:
    async with stack(tmp_path) as s:
        assert (await ask(s, **given)).status_code == 200
        assert sent(s, expected) == expected


async def test_stream_passes_untouched_and_its_usage_is_counted(tmp_path: Path) -> None:
    async with stack(tmp_path) as s:
        await check_untouched_stream(s, await ask(s, stream=True))


async def test_usage_of_a_whole_answer_counts_what_came_from_the_cache(tmp_path: Path) -> None:
    async with stack(tmp_path) as s:
        usage = {"input_tokens": 3, "output_tokens": 2, "cache_read_input_tokens": 40}
        body = {"type": "message", "content": [], "usage": usage}
        s.engine.answers[NAMING] = Answer(body=json.dumps(body).encode())
        await ask(s)
        await s.at_rest()
        assert (counted(s, "prompt_tokens_total"), counted(s, "completion_tokens_total")) == (43, 2)


@pytest.mark.parametrize(
    ("fields", "status", "kind", "says"),
    [
        ({"max_tokens": ...}, 400, "invalid_request_error", "max_tokens: Field required"),
        ({"max_tokens": "x"}, 400, "invalid_request_error", "'max_tokens' must be a whole number"),
        ({"model": "namin"}, 404, "not_found_error", "Did you mean 'naming'?"),
        ({"model": ...}, 400, "invalid_request_error", "'model' is required"),
        ({"stop": ["x"]}, 400, "invalid_request_error", "stop_sequences"),
        ({"mcp_servers": [{"url": "http://x"}]}, 400, "invalid_request_error", "mcp_servers"),
        ({"stream": "yes"}, 400, "invalid_request_error", "'stream'"),
        ({"messages": 3}, 400, "invalid_request_error", "'messages'"),
    ],
)
async def test_errors_are_in_anthropics_form(
    tmp_path: Path, fields: dict[str, Any], status: int, kind: str, says: str
) -> None:
    async with stack(tmp_path) as s:
        found = fault(await ask(s, **fields))
        assert found[:2] == (status, kind)
        assert says in found[2]
        assert not s.engine.completions


async def test_errors_of_the_body_and_the_head_too(tmp_path: Path) -> None:
    async with stack(tmp_path, max_body_bytes=1000) as s:
        kinds = [
            fault(await ask(s, head={"content-type": "text/plain"}))[:2],
            fault(await ask(s, system="x" * 2000))[:2],
            fault(await s.client.post(PATH, content=b"{", headers={"content-type": "application/json"}))[:2],
            (await s.client.get(PATH)).json()["error"]["type"],
        ]
        unknown = await s.client.get(f"{PATH}/batches")
        assert unknown.headers["request-id"] == unknown.json()["request_id"]
        assert kinds == [
            (415, "invalid_request_error"),
            (413, "request_too_large"),
            (400, "invalid_request_error"),
            "invalid_request_error",
        ]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("error_message", None),
        (
            "error_too_long",
            "prompt is too long: This model's maximum context length is 512 tokens. However, your prompt "
            "contains at least 513 input tokens, which exceeds this limit even without any output tokens. "
            "Please reduce the length of the input prompt.",
        ),
        (
            "error_message_validation",
            "'max_tokens': Input should be a valid integer, unable to parse string as an integer.",
        ),
    ],
)
async def test_the_engines_own_refusal_is_put_in_anthropics_form(
    tmp_path: Path, name: str, said: str | None
) -> None:
    real: Any = recorded(name)["body"]
    async with stack(tmp_path) as s:
        s.engine.answers[NAMING] = Answer(status=400, body=json.dumps(real).encode())
        assert fault(await ask(s)) == (
            400,
            "invalid_request_error",
            said or real["error"]["message"],
        )
        cut = {"message": "Unterminated string starting at: line 1 column 10 (char 9)"}
        s.engine.answers[NAMING] = Answer(status=400, body=json.dumps({"error": cut}).encode())
        assert "send a larger max_tokens" in fault(await ask(s))[2]
        s.engine.answers[NAMING] = Answer(status=500, body=b"/secret")
        assert fault(await ask(s))[:2] == (500, "api_error")
        s.engine.answers[NAMING] = Answer(status=422, body=b"no json")
        assert fault(await ask(s)) == (422, "invalid_request_error", "The engine refused the request.")


async def test_an_engine_that_is_not_there_is_overloaded(tmp_path: Path) -> None:
    async with controlled(tmp_path, "failed") as c:
        answer = await ask(c.stack)
        assert fault(answer)[:2] == (503, "overloaded_error")
        assert int(answer.headers["retry-after"]) > 0


async def test_broken_stream_ends_with_the_error_event(tmp_path: Path) -> None:
    async with stack(tmp_path) as s:
        s.engine.answers[NAMING] = Answer(break_before=1)
        name, event = events((await ask(s, stream=True)).text)[-1]
        assert (name, event["type"], event["error"]["type"]) == ("error", "error", "api_error")
        await s.at_rest()


async def test_stream_that_waited_and_is_refused_ends_with_the_error_event(tmp_path: Path) -> None:
    async with controlled(tmp_path, "stopped", lazy=True, heartbeat_s=0.02) as c:
        body = json.dumps(recorded("error_message")["body"], indent=1).encode()
        c.stack.engine.answers[NAMING] = Answer(status=400, body=body)
        answer = await answer_after_a_wait(c, ask(c.stack, stream=True))
        assert answer.text.startswith(": engine ")
        assert answer.headers["request-id"] == answer.headers["x-request-id"]
        ((name, event),) = events(answer.text)
        assert (name, event["error"]["type"]) == ("error", "invalid_request_error")


@pytest.mark.parametrize(
    ("head", "status"),
    [
        ({"x-api-key": KEY}, 200),
        ({"authorization": f"Bearer {KEY}"}, 200),
        ({"x-api-key": KEY, "authorization": f"bearer  {KEY}"}, 200),
        ({"x-api-key": KEY, "authorization": "Bearer other"}, 401),
        ({"x-api-key": KEY, "authorization": "Bearer elsewhere"}, 200),
        ({"x-api-key": "elsewhere", "authorization": f"Bearer {KEY}"}, 200),
        ({"x-api-key": KEY, "authorization": KEY}, 200),
        ({"x-api-key": "", "authorization": f"Bearer {KEY}"}, 200),
        ({"x-api-key": "elsewhere", "authorization": "Bearer another"}, 401),
        ({"x-api-key": "unknown"}, 401),
        ({"x-api-key": ""}, 401),
        ({}, 401),
    ],
)
@pytest.mark.parametrize("path", [PATH, COUNT])
async def test_key_may_come_as_x_api_key(
    tmp_path: Path, path: str, head: dict[str, str], status: int
) -> None:
    async with stack(tmp_path, keys=KEYS) as s:
        limit = {} if path == PATH else {"max_tokens": ...}
        answer = await ask(s, path, {"anthropic-version": "2023-06-01", **head}, **limit)
        assert answer.status_code == status
        if status == 401:
            assert fault(answer)[1] == "authentication_error"
            assert not s.engine.completions
        elif path == PATH:
            refusal = fault(await ask(s, path, head, model="concept"))
            assert refusal[:2] == (403, "permission_error")


async def test_two_api_keys_are_none(tmp_path: Path) -> None:
    async with stack(tmp_path, keys=KEYS) as s:
        head = [("x-api-key", KEY), ("x-api-key", KEY)]
        answer = await s.client.post(PATH, json={}, headers=head)
        assert answer.status_code == 401


async def test_tokens_are_counted_with_the_tasks_system_prompt(tmp_path: Path) -> None:
    async with stack(tmp_path) as s:
        answer = await ask(s, COUNT, max_tokens=...)
        real: Any = recorded("count_tokens")["body"]
        assert answer.json() == real
        assert s.engine.completions[0].path == COUNT
        sent = s.engine.completions[0].json
        assert sent == {"model": NAMING, "messages": USER, "system": "Name the concept."}
        kind = fault(await ask(s, COUNT, model="concept-naming", max_tokens=...))
        assert kind[:2] == (400, "invalid_request_error")
        assert "pipeline" in kind[2]
        await s.at_rest()
        assert counted(s, "requests_total", status="200") == 1
        assert counted(s, "prompt_tokens_total") == 0


async def test_pipeline_answers_as_a_message(tmp_path: Path) -> None:
    async with stack(tmp_path) as s:
        pipeline_answers(s)
        content = [{"type": "text", "text": "a\nb"}]
        answer = await ask(
            s, model="concept-naming", messages=[{"role": "user", "content": content}], max_tokens=500
        )
        message = answer.json()
        assert (message["type"], message["role"], message["stop_reason"]) == (
            "message",
            "assistant",
            "end_turn",
        )
        assert concept_names(message["content"][0]["text"]) == ["name of one", "name of two"]
        assert message["usage"]["input_tokens"] == 21
        assert answer.headers["request-id"]
        await s.at_rest()


async def test_pipeline_streams_a_messages_events(tmp_path: Path) -> None:
    async with stack(tmp_path) as s:
        pipeline_answers(s)
        asked: Any = {"model": "concept-naming", "messages": [{"role": "user", "content": "a\nb"}]}
        whole = (await ask(s, **asked, max_tokens=500)).json()
        found = events((await ask(s, **asked, max_tokens=500, stream=True)).text)
        names = [name for name, _ in found]
        assert names[:2] == ["message_start", "content_block_start"]
        assert names[-3:] == ["content_block_stop", "message_delta", "message_stop"]
        deltas = [event["delta"]["text"] for name, event in found if name == "content_block_delta"]
        assert "".join(deltas) == whole["content"][0]["text"]
        last = found[-2][1]
        assert (last["delta"]["stop_reason"], last["usage"]["output_tokens"]) == (
            "end_turn",
            whole["usage"]["output_tokens"],
        )
        await s.at_rest()


@pytest.mark.parametrize(
    "fields",
    [
        {"stop_sequences": ["x"]},
        {"output_config": {"format": {"type": "json_schema", "schema": {"type": "null"}}}},
        {"tools": [{"name": "f", "input_schema": {}}], "tool_choice": {"type": "auto"}},
        {"messages": []},
    ],
)
async def test_pipeline_refuses_what_it_cannot_honour(tmp_path: Path, fields: dict[str, Any]) -> None:
    async with stack(tmp_path) as s:
        assert fault(await ask(s, model="concept-naming", **fields))[:2] == (400, "invalid_request_error")
        assert not s.engine.completions


async def test_models_have_anthropics_form_for_its_clients(tmp_path: Path) -> None:
    head = {"anthropic-version": "2023-06-01", "x-api-key": KEY}
    async with stack(tmp_path, keys=KEYS) as s:
        listed = (await s.client.get("/v1/models", headers=head)).json()
        assert (listed["has_more"], listed["first_id"], listed["last_id"]) == (False, "naming", "naming")
        (model,) = listed["data"]
        assert (model["type"], model["id"]) == ("model", "naming")
        assert model["created_at"].endswith("Z")
        assert (await s.client.get("/v1/models/naming", headers=head)).json() == model
        assert fault(await s.client.get("/v1/models/nope", headers=head))[:2] == (404, "not_found_error")
        assert fault(await s.client.get("/v1/models", headers={"anthropic-version": "x"}))[0] == 401


async def test_a_format_without_a_schema_is_refused(tmp_path: Path) -> None:
    """The engine passes over it, and the answer would be held to nothing."""
    async with stack(tmp_path) as s:
        for form in ({"type": "json_schema"}, {"type": "json_schema", "json_schema": {"schema": {}}}):
            answer = await ask(s, output_config={"format": form})
            assert (answer.status_code, "output_config.format.schema" in answer.text) == (400, True)
        assert (await ask(s, output_config={"format": None, "effort": None})).status_code == 200
        asked: Any = s.engine.completions[-1].json
        assert asked["output_config"]["format"] == FORMAT


@pytest.mark.parametrize("path", [PATH, COUNT])
async def test_a_thread_may_be_begun_and_not_gone_on_with(tmp_path: Path, path: str) -> None:
    """Its other messages would stand on a server that keeps them."""
    given: dict[str, Any] = {} if path == PATH else {"max_tokens": ...}
    async with stack(tmp_path) as s:
        begun = await ask(s, path, thread={"type": "create"}, **given)
        assert (begun.status_code, begun.headers["x-gateway-ignored"]) == (200, "thread")
        thread = {"type": "continue", "previous_message_id": "msg_1"}
        status, kind, said = fault(await ask(s, path, thread=thread, **given))
        assert (status, kind, "whole conversation" in said) == (400, "invalid_request_error", True)


async def test_a_summary_in_place_of_an_answer_is_refused(tmp_path: Path) -> None:
    async with stack(tmp_path) as s:
        for given in ({}, {"type": "enabled"}):
            assert "summary" in fault(await ask(s, compaction=given))[2]
        assert (await ask(s, COUNT, compaction={"type": "enabled"}, max_tokens=...)).status_code == 200


@pytest.mark.parametrize("path", [PATH, COUNT])
async def test_thinking_between_calls_is_named(tmp_path: Path, path: str) -> None:
    """The engine knows no such kind, and would refuse it."""
    async with stack(tmp_path) as s:
        given: dict[str, Any] = {
            "thinking": {"type": "between_tools"},
            **({} if path == PATH else {"max_tokens": ...}),
        }
        answer = await ask(s, path, **given)
        assert (answer.status_code, answer.headers["x-gateway-ignored"]) == (200, "thinking")
        assert "thinking" not in s.engine.received[-1].json


async def test_how_thinking_is_shown_is_named(tmp_path: Path) -> None:
    """The engine shows it in any case."""
    async with stack(tmp_path) as s:
        answer = await ask(s, thinking={"type": "adaptive", "display": "omitted"})
        assert (answer.status_code, answer.headers["x-gateway-ignored"]) == (200, "thinking.display")
        assert s.engine.completions[-1].json["thinking"] == {"type": "adaptive"}
