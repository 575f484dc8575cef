"""`/v1/responses`: the task's contract in its fields, events untouched, what is kept nowhere, pipelines."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from gateway.dialects.responses.dialect import RESPONSES
from tests.fakes.fake_engine import Answer
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
from tests.support.stack import TASKS, Stack, stack

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("both_ways")]


PATH = "/v1/responses"


NAMING = TASKS["naming"]


FORMAT = {"type": "json_schema", "name": "naming", "schema": {"type": "string"}, "strict": True}


async def ask(s: Stack, **fields: Any) -> httpx.Response:
    return await s.client.post(PATH, json={"model": "naming", "input": "cat", **fields})


async def test_contract_is_written_into_its_fields(tmp_path: Path) -> None:
    async with stack(tmp_path) as s:
        answer = await ask(s)
        assert answer.json()["output"][0]["content"][0]["text"] == "Paris"
        assert s.engine.completions[0].path == PATH
        assert s.engine.completions[0].json == {
            "model": NAMING,
            "input": "cat",
            "instructions": "Name the concept.",
            "temperature": 0,
            "max_output_tokens": 24,
            "text": {"format": FORMAT},
            "store": False,
        }
        assert answer.headers["x-gateway-adapter"] == NAMING
        await s.at_rest()


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"instructions": "mine"}, {"instructions": "mine"}),
        ({"instructions": None}, {"instructions": "Name the concept."}),
        ({"temperature": 1, "max_output_tokens": 3}, {"temperature": 1, "max_output_tokens": 3}),
        ({"text": {"format": {"type": "text"}}}, {"text": {"format": {"type": "text"}}}),
        ({"text": {"verbosity": "medium"}}, {"text": {"verbosity": "medium", "format": FORMAT}}),
        ({"structured_outputs": {"regex": "a"}}, {"text": None}),
        ({"input": [{"role": "user", "content": "x"}]}, {"instructions": "Name the concept."}),
        ({"input": [{"role": "developer", "content": "x"}]}, {"instructions": None}),
        ({"input": [{"type": "function_call_output", "output": "x"}]}, {"instructions": "Name the concept."}),
    ],
)
async def test_a_clients_own_settings_stand(
    tmp_path: Path, given: dict[str, Any], expected: dict[str, Any]
) -> None:
    async with stack(tmp_path) as s:
        assert (await ask(s, **given)).status_code == 200
        assert sent(s, expected) == expected


async def test_a_base_gets_what_came(tmp_path: Path) -> None:
    async with stack(tmp_path) as s:
        await ask(s, model="base", top_k=3)
        assert s.engine.completions[0].json == {"model": "base", "input": "cat", "top_k": 3, "store": False}


async def test_large_input_reaches_the_engine_whole(tmp_path: Path) -> None:
    async with stack(tmp_path) as s:
        text = "word " * 40_000
        assert (await ask(s, input=text)).status_code == 200
        assert s.engine.completions[0].json["input"] == text
        assert s.engine.completions[0].json["instructions"] == "Name the concept."


async def test_stream_passes_untouched_and_its_usage_is_counted(tmp_path: Path) -> None:
    async with stack(tmp_path) as s:
        answer = await ask(s, stream=True)
        assert "stream_options" not in s.engine.completions[0].json
        await check_untouched_stream(s, answer)


async def test_usage_of_a_whole_answer_is_counted(tmp_path: Path) -> None:
    async with stack(tmp_path) as s:
        s.engine.answers[NAMING] = Answer(["a", "b", "c"])
        await ask(s)
        await s.at_rest()
        assert (counted(s, "prompt_tokens_total"), counted(s, "completion_tokens_total")) == (7, 3)


async def test_broken_stream_ends_with_the_error_event(tmp_path: Path) -> None:
    async with stack(tmp_path) as s:
        s.engine.answers[NAMING] = Answer(break_before=1)
        name, event = events((await ask(s, stream=True)).text)[-1]
        assert (name, event["type"], event["code"]) == ("error", "error", "engine_error")
        assert event["message"] == event["error"]["message"]
        await s.at_rest()


@pytest.mark.parametrize("stream", [True, False])
async def test_client_that_leaves_aborts(tmp_path: Path, stream: bool) -> None:
    async with stack(tmp_path) as s:
        s.engine.answers[NAMING] = Answer(hold_token={1: asyncio.Event()})
        _, writer = await s.open(path=PATH, input="cat", stream=stream, messages=None)
        await s.engine.until(lambda: s.engine.active == 1)
        writer.transport.abort()
        await s.engine.until(lambda: s.engine.aborts == 1)
        await s.at_rest()


async def test_stream_waits_for_a_cold_engine_with_heartbeats(tmp_path: Path) -> None:
    async with controlled(tmp_path, "stopped", lazy=True, heartbeat_s=0.02) as c:
        answer = await answer_after_a_wait(c, ask(c.stack, stream=True))
        assert answer.text.startswith(": engine ")
        assert answer.headers["x-gateway-cold"] == "true"
        assert events(answer.text)[-1][0] == "response.completed"


async def test_stream_that_waited_and_is_refused_ends_with_the_error_event(tmp_path: Path) -> None:
    async with controlled(tmp_path, "stopped", lazy=True, heartbeat_s=0.02) as c:
        refusal = {"error": {"message": "no", "type": "BadRequestError", "param": "input", "code": 400}}
        c.stack.engine.answers[NAMING] = Answer(status=400, body=json.dumps(refusal).encode())
        answer = await answer_after_a_wait(c, ask(c.stack, stream=True))
        ((name, event),) = events(answer.text)
        assert (name, event["type"], event["message"], event["code"]) == (
            "error",
            "error",
            "no",
            "invalid_request",
        )


async def test_pipeline_answers_as_a_response(tmp_path: Path) -> None:
    async with stack(tmp_path) as s:
        pipeline_answers(s)
        answer = (await ask(s, model="concept-naming", input=[{"role": "user", "content": "a\nb"}])).json()
        assert (answer["object"], answer["status"], answer["model"]) == (
            "response",
            "completed",
            "concept-naming",
        )
        assert concept_names(answer["output"][0]["content"][0]["text"]) == ["name of one", "name of two"]
        usage = answer["usage"]
        assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"] > 0
        assert [stage["stage"] for stage in usage["stages"]] == ["extract", "name"]
        assert {one.path for one in s.engine.completions} == {"/v1/chat/completions"}
        await s.at_rest()


async def test_pipeline_streams_a_responses_events(tmp_path: Path) -> None:
    async with stack(tmp_path) as s:
        pipeline_answers(s)
        whole = (await ask(s, model="concept-naming", input="a\nb")).json()
        answer = await ask(s, model="concept-naming", input="a\nb", stream=True)
        found = events(answer.text)
        assert [event["sequence_number"] for _, event in found] == list(range(len(found)))
        assert all(name == event["type"] for name, event in found)
        names = [name for name, _ in found]
        assert names[:4] == [
            "response.created",
            "response.in_progress",
            "response.output_item.added",
            "response.content_part.added",
        ]
        assert names[-4:] == [
            "response.output_text.done",
            "response.content_part.done",
            "response.output_item.done",
            "response.completed",
        ]
        text = "".join(event["delta"] for name, event in found if name == "response.output_text.delta")
        response = found[-1][1]["response"]
        assert text == response["output"][0]["content"][0]["text"] == whole["output"][0]["content"][0]["text"]
        assert response["usage"]["output_tokens"] == whole["usage"]["output_tokens"]
        await s.at_rest()


async def test_pipeline_that_fails_midway_ends_with_the_error_event(tmp_path: Path) -> None:
    async with stack(tmp_path) as s:
        pipeline_answers(s)
        answered = s.engine.answers[NAMING]
        assert callable(answered)

        def second_fails(asked: dict[str, Any]) -> Answer:
            if asked["messages"][-1]["content"] == "two":
                return Answer(status=500, body=b"{}", hold_head=first_is_out)
            return answered(asked)

        first_is_out = asyncio.Event()
        s.engine.answers[NAMING] = second_fails
        request = s.client.stream(
            "POST", PATH, json={"model": "concept-naming", "input": "a\nb", "stream": True}
        )
        text = ""
        async with request as answer:
            async for piece in answer.aiter_text():
                text += piece
                first_is_out.set()
        assert events(text)[-1][0] == "error"
        await s.at_rest()


@pytest.mark.parametrize(
    "fields",
    [
        {"text": {"format": {"type": "json_schema", "schema": {"type": "null"}}}},
        {"tools": [{"type": "function", "name": "f"}], "tool_choice": "auto"},
        {"input": [{"type": "function_call_output", "call_id": "c", "output": "x"}]},
        {"input": [{"role": "user", "content": [{"type": "input_image", "image_url": "http://x"}]}]},
        {"input": 3},
        {"input": ""},
    ],
)
async def test_pipeline_refuses_what_it_cannot_honour(tmp_path: Path, fields: dict[str, Any]) -> None:
    async with stack(tmp_path) as s:
        answer = await ask(s, model="concept-naming", **fields)
        assert (answer.status_code, answer.json()["error"]["type"]) == (400, "invalid_request_error")
        assert not s.engine.completions


@pytest.mark.parametrize(
    ("fields", "param", "word"),
    [
        ({"input": ""}, "input", "empty"),
        ({"input": []}, "input", "'input'"),
        ({"input": [{"role": "assistant", "content": "a"}]}, "input[0].role", "user's"),
        ({"input": [{"role": "user", "content": 7}]}, "input[0].content", "text"),
        ({"input": [{"role": "user", "content": [{"type": "x"}]}]}, "input[0].content[0]", "'input[0]"),
        ({"text": {"format": {"type": "json_schema", "schema": {"type": "null"}}}}, "text.format", "'text."),
    ],
)
async def test_a_pipelines_refusal_names_what_the_client_sent(
    tmp_path: Path, fields: dict[str, Any], param: str, word: str
) -> None:
    async with stack(tmp_path) as s:
        error = (await ask(s, model="concept-naming", **fields)).json()["error"]
        assert (error["param"], word in error["message"]) == (param, True)


async def test_a_cap_that_cuts_a_stage_short_has_its_own_name_here(tmp_path: Path) -> None:
    async with stack(tmp_path) as s:
        cut = {"choices": [{"delta": {"content": '{"conc'}, "finish_reason": "length"}]}
        s.engine.answers[TASKS["concept"]] = Answer(body=f"data: {json.dumps(cut)}\n\n".encode())
        error = (await ask(s, model="concept-naming", max_output_tokens=2)).json()["error"]
        assert (error["param"], error["code"]) == ("max_output_tokens", "stage_output_truncated")
        assert "max_output_tokens=2" in error["message"]


async def test_what_asks_for_nothing_is_taken_by_a_pipeline(tmp_path: Path) -> None:
    async with stack(tmp_path) as s:
        pipeline_answers(s)
        fields = {"store": False, "truncation": "disabled", "tools": [], "include": [], "reasoning": None}
        fields["text"] = {"format": {"type": "text"}, "verbosity": "medium"}
        answer = await ask(s, model="concept-naming", temperature=0.5, max_output_tokens=400, **fields)
        assert answer.status_code == 200, answer.text
        assert {one.json["temperature"] for one in s.engine.completions} == {0.5}
        assert s.engine.completions[0].json["max_tokens"] == 400


async def test_what_is_told_before_the_answer_counts_as_none_of_its_events() -> None:
    file = Path(__file__).parents[4] / "recorded/response_stream.json"
    recorded = [f"{event}\n\n".encode() for event in json.loads(file.read_text())["events"]]
    first = next(at for at, event in enumerate(recorded) if b".delta\n" in event)
    events = RESPONSES.events(True)
    counted = []
    for event in recorded:
        assert events.feed(event) == event
        counted.append(events.events)
    assert counted[first - 1 : first + 1] == [0, 1]
    assert counted[-1] == sum(b".delta\n" in event for event in recorded)
    assert events.usage is not None
