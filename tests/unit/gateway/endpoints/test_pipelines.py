"""Pipelines' requests: bounded before they are parsed, and answered as the SDKs of each API take it."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from openai import AsyncOpenAI

from tests.fakes.fake_engine import Answer
from tests.support.named_events import concept_names, pipeline_answers
from tests.support.stack import TASKS, key_of, stack
from tests.support.waiting import eventually

pytestmark = pytest.mark.anyio
PIPELINE = "concept-naming"
NAMES = ["name of one", "name of two"]


def asked(text: str) -> dict[str, object]:
    return {"model": PIPELINE, "messages": [{"role": "user", "content": text}]}


@pytest.mark.parametrize("text", ["a\n" * 3_300_000, '{"x": 1, "y": [' + "[]," * 1_000_000 + "[]]}"])
async def test_a_request_beyond_its_bound_is_refused_before_it_is_read(tmp_path: Path, text: str) -> None:
    async with stack(tmp_path) as running:
        refused = await running.chat(asked(text))
        assert refused.status_code == 413
        error = refused.json()["error"]
        assert f"pipelines.{PIPELINE}.max_input_bytes" in error["message"]
        assert "at most 1048576" in error["message"]
        assert not running.engine.completions


@pytest.mark.parametrize("given", ["text", "messages"])
async def test_json_of_very_many_members_is_refused_before_it_is_parsed(tmp_path: Path, given: str) -> None:
    """A text that only looks like it, and brackets and commas within a text, are none."""
    lists = "[" + "[]," * 60_000 + "[]]"
    async with stack(tmp_path) as running:
        body = asked(lists) if given == "text" else {**asked(""), "messages": json.loads(lists)}
        refused = await running.chat(body)
        error = refused.json()["error"]
        if given == "messages":  # refused as any conversation of so many
            assert (refused.status_code, error["code"]) == (400, "context_length_exceeded")
            return
        assert (refused.status_code, error["code"]) == (400, "too_many_members")
        assert f"pipelines.{PIPELINE}.max_input_members" in error["message"]
        for sound in (lists[:-1], json.dumps({"code": lists}), "see: " + lists):
            assert (await running.chat(asked(sound))).status_code != 400


async def test_inputs_of_all_pipelines_are_bounded_together_and_given_back(tmp_path: Path) -> None:
    """One that holds more than all may runs alone; what a client that leaves has held is free again."""
    hold = asyncio.Event()
    async with stack(tmp_path, max_pipeline_bytes=1000) as running:
        for model in ("base", TASKS["concept"]):
            running.engine.answers[model] = Answer(hold_head=hold)
        _, writer = await running.open(model=PIPELINE, messages=[{"role": "user", "content": "a, b, c"}])
        await eventually(lambda: running.engine.active == 1)
        refused = await running.chat(asked("d, e, f"))
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "overloaded")
        assert refused.headers["retry-after"]
        assert "gateway.max_pipeline_bytes" in refused.json()["error"]["message"]
        other = asyncio.ensure_future(running.chat(model="base"))
        await eventually(lambda: running.engine.active == 2)
        writer.transport.abort()
        await eventually(lambda: running.engine.active == 1)
        hold.set()
        assert (await other).status_code == 200
        again = await running.chat(asked("d, e, f"))
        assert again.status_code != 503
        await running.at_rest()


async def test_of_several_tenants_none_holds_all_that_inputs_may_take(tmp_path: Path) -> None:
    keys = {
        name: key_of(name, tenant=tenant)
        for name, tenant in (("one", "acme"), ("two", "acme"), ("other", "beta"))
    }
    hold = asyncio.Event()
    async with stack(tmp_path, keys=keys) as running:
        running.engine.answers[TASKS["concept"]] = Answer(hold_head=hold)
        inputs = running.gateway._pipelines.inputs

        def ask(name: str) -> asyncio.Task[httpx.Response]:
            running.client.headers["authorization"] = f"Bearer {name}"
            return asyncio.create_task(running.chat(asked("a, b, c")))

        first = ask("one")
        await eventually(lambda: running.engine.active == 1)
        inputs.most_bytes = 2 * inputs.held_bytes
        refused = await ask("two")
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "overloaded")
        other = ask("other")
        await eventually(lambda: running.engine.active == 2)
        hold.set()
        assert 503 not in [(await one).status_code for one in (first, other)]
        await running.at_rest()
        await eventually(lambda: inputs.held_bytes == 0)


async def test_sdk_of_anthropic_puts_a_pipelines_message_together(tmp_path: Path) -> None:
    from anthropic import AsyncAnthropic  # takes seconds: not while tests are collected

    async with stack(tmp_path) as s:
        pipeline_answers(s)
        asked: Any = {"model": PIPELINE, "messages": [{"role": "user", "content": "a\nb"}], "max_tokens": 500}
        async with AsyncAnthropic(base_url=f"http://127.0.0.1:{s.port}", api_key="none") as client:
            whole = await client.messages.create(**asked)
            async with client.messages.stream(**asked) as stream:
                final = await stream.get_final_message()
        texts = [[str(block.to_dict()["text"]) for block in one.content] for one in (whole, final)]
        assert texts[0] == texts[1]
        assert [concept_names(text) for text in texts[0]] == [NAMES]
        assert final.stop_reason == "end_turn"
        assert final.usage.output_tokens == whole.usage.output_tokens > 0
        assert final.model == PIPELINE


async def test_sdk_of_openai_puts_a_pipelines_response_and_text_together(tmp_path: Path) -> None:
    async with stack(tmp_path) as s:
        pipeline_answers(s)
        async with AsyncOpenAI(base_url=f"http://127.0.0.1:{s.port}/v1", api_key="none") as client:
            whole = await client.responses.create(model=PIPELINE, input="a\nb", metadata={"k": "v"})
            async with client.responses.stream(model=PIPELINE, input="a\nb") as stream:
                final = await stream.get_final_response()
            chunks = [
                chunk
                async for chunk in await client.completions.create(
                    model=PIPELINE, prompt="a\nb", stream=True, stream_options={"include_usage": True}
                )
            ]
        assert concept_names(final.output_text) == NAMES
        assert (final.output_text, final.status) == (whole.output_text, "completed")
        assert (whole.metadata, whole.tool_choice, whole.tools) == ({"k": "v"}, "auto", [])
        assert final.usage is not None
        assert final.usage.total_tokens == final.usage.input_tokens + final.usage.output_tokens > 0
        text = "".join(chunk.choices[0].text for chunk in chunks if chunk.choices)
        assert concept_names(text) == NAMES
        assert chunks[-1].usage is not None
        assert {chunk.id.partition("-")[0] for chunk in chunks} == {"cmpl"}


async def test_an_agents_history_before_the_last_message_is_no_hindrance(tmp_path: Path) -> None:
    items: list[Any] = [
        {"type": "reasoning", "id": "rs", "summary": []},
        {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c", "output": "x"},
        {"role": "user", "content": "a\nb"},
    ]
    blocks: list[Any] = [
        {"role": "assistant", "content": [{"type": "tool_use", "id": "t", "name": "f", "input": {}}]},
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "t", "content": "x"},
                {"type": "text", "text": "a\nb"},
            ],
        },
    ]
    async with stack(tmp_path) as s:
        pipeline_answers(s)
        response = await s.client.post("/v1/responses", json={"model": PIPELINE, "input": items})
        assert response.status_code == 200, response.text
        asked = {"model": PIPELINE, "messages": blocks, "max_tokens": 500}
        message = await s.client.post("/v1/messages", json=asked)
        assert message.status_code == 200, message.text
        assert concept_names(message.json()["content"][0]["text"]) == NAMES
        assert not any("tool" in one.body.decode() for one in s.engine.completions)


@pytest.mark.parametrize(
    ("path", "fields", "param", "word"),
    [
        ("/v1/responses", {"input": "a", "text": {"format": {"type": "x"}}}, "text.format.type", "pipeline:"),
        ("/v1/completions", {"prompt": ["a", "b"]}, "prompt", "one prompt"),
        ("/v1/completions", {"prompt": ""}, "prompt", "empty"),
        ("/v1/completions", {}, "prompt", "is required"),
    ],
)
async def test_a_refusal_names_the_clients_own_parameter(
    tmp_path: Path, path: str, fields: dict[str, Any], param: str, word: str
) -> None:
    async with stack(tmp_path) as s:
        answer = await s.client.post(path, json={"model": PIPELINE, **fields})
        assert answer.status_code == 400, answer.text
        error = answer.json()["error"]
        assert (error["param"], word in error["message"]) == (param, True)
        assert not s.engine.completions


FUNCTION: dict[str, Any] = {"name": "f", "parameters": {"type": "object"}}
IN_A_CHAT: dict[str, Any] = {"messages": [{"role": "user", "content": "a\nb"}]}
OF_EACH_API: list[tuple[str, dict[str, Any], dict[str, Any], Any]] = [
    ("/v1/chat/completions", IN_A_CHAT, {"type": "function", "function": FUNCTION}, "none"),
    ("/v1/responses", {"input": "a\nb"}, {"type": "function", **FUNCTION}, "none"),
    (
        "/v1/messages",
        {**IN_A_CHAT, "max_tokens": 500},
        {"name": "f", "input_schema": {}, "defer_loading": True},
        {"type": "none"},
    ),
]


@pytest.mark.parametrize("engine", ["", "none", "forced"])
@pytest.mark.parametrize(("path", "fields", "tool", "none"), OF_EACH_API)
async def test_of_tools_a_pipeline_says_what_to_do_whatever_the_engine_can_call(
    tmp_path: Path, engine: Any, path: str, fields: dict[str, Any], tool: dict[str, Any], none: Any
) -> None:
    """SDKs and frameworks send no tools as an empty list, or forbid their calls."""
    async with stack(tmp_path, tools=engine) as s:
        pipeline_answers(s)
        asked: dict[str, Any] = {"model": PIPELINE, **fields}
        refused = await s.client.post(path, json={**asked, "tools": [tool]})
        assert refused.status_code == 400
        message = refused.json()["error"]["message"]
        assert "pipeline and cannot honour 'tools'; omit it, or call one of its tasks" in message
        assert not s.engine.completions
        idle: list[dict[str, Any]] = [
            {"tools": []},
            {"tool_choice": none},
            {"tools": [tool], "tool_choice": none},
        ]
        for tools in idle:
            answer = await s.client.post(path, json=asked | tools)
            assert answer.status_code == 200, answer.text
