"""A fallback on `/v1/messages` and `/v1/responses`: contract, SDKs, tools, errors in each API's form."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from openai import AsyncOpenAI

from gateway.relay.fallback.provider import Provider
from tests.fakes.fake_engine import Answer
from tests.support.controlled import controlled
from tests.support.named_events import events
from tests.support.stack import Stack, eventually
from tests.unit.gateway.relay.fallback.test_fallbacks import ENV, MODEL, SECRET, Fallen, fallen, other_server

if TYPE_CHECKING:  # takes seconds to import: not while tests are collected
    from anthropic import AsyncAnthropic

pytestmark = pytest.mark.anyio
MESSAGES, RESPONSES = "/v1/messages", "/v1/responses"
BOTH = pytest.mark.parametrize("path", [MESSAGES, RESPONSES])
USAGE: dict[str, Any] = {
    "prompt_tokens": 9,
    "completion_tokens": 3,
    "total_tokens": 12,
    "prompt_tokens_details": {"cached_tokens": 4},
    "completion_tokens_details": {"reasoning_tokens": 2},
}
ANTHROPICS = [{"name": name, "input_schema": {"type": "object"}} for name in "fg"]
OPENAIS = [{"type": "function", "name": name, "parameters": {"type": "object"}} for name in "fg"]


def asked_on(path: str, **fields: Any) -> dict[str, Any]:
    if path == RESPONSES:
        return {"model": "naming", "input": "cat", **fields}
    return {"model": "naming", "messages": [{"role": "user", "content": "cat"}], "max_tokens": 9, **fields}


async def ask(s: Stack, path: str, **fields: Any) -> httpx.Response:
    return await s.client.post(path, json=asked_on(path, **fields))


def whole(message: dict[str, Any], finish: str = "stop") -> Answer:
    """A provider's whole answer."""
    choice = {"index": 0, "message": {"role": "assistant", **message}, "finish_reason": finish}
    head: dict[str, Any] = {"id": "c", "object": "chat.completion", "created": 1, "model": "base"}
    return Answer(body=json.dumps(head | {"choices": [choice], "usage": USAGE}).encode())


def streamed(*deltas: dict[str, Any], finish: str = "stop") -> Answer:
    """A provider's stream."""
    head: dict[str, Any] = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "base"}
    ends: list[str | None] = [*[None] * len(deltas), finish]
    choices = [
        {"index": 0, "delta": delta, "finish_reason": end}
        for delta, end in zip([*deltas, {}], ends, strict=True)
    ]
    chunks = [head | {"choices": [choice]} for choice in choices]
    chunks.append(head | {"choices": [], "usage": USAGE})
    text = "".join(f"data: {json.dumps(chunk)}\n\n" for chunk in chunks) + "data: [DONE]\n\n"
    start = f"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: {len(text)}\r\n\r\n"
    return Answer(raw=(start + text).encode())


def piece(index: int, arguments: str, **begun: str) -> dict[str, Any]:
    """A delta of a tool's call; `id` and `name` where it begins."""
    call: dict[str, Any] = {"index": index, "function": {"arguments": arguments}}
    if begun:
        call |= {"id": begun["id"], "type": "function"}
        call["function"]["name"] = begun["name"]
    return {"tool_calls": [call]}


CALLS = (
    {"role": "assistant", "content": ""},
    {"reasoning_content": "hm"},
    {"content": "Let "},
    {"content": "me."},
    piece(0, "", id="call_1", name="f"),
    piece(0, '{"x"'),
    piece(0, ":1}"),
    piece(1, "{}", id="call_2", name="g"),
)


def anthropic(f: Fallen) -> AsyncAnthropic:
    from anthropic import AsyncAnthropic

    return AsyncAnthropic(base_url=f"http://127.0.0.1:{f.stack.port}", api_key="none", max_retries=0)


def openai(f: Fallen) -> AsyncOpenAI:
    return AsyncOpenAI(base_url=f"http://127.0.0.1:{f.stack.port}/v1", api_key="none", max_retries=0)


def counted(f: Fallen, name: str) -> float:
    return f.stack.samples()[name, f"adapter={MODEL}", "origin=fallback", "task=naming"]


@BOTH
async def test_contract_marks_and_counts_are_those_of_a_chat(tmp_path: Path, path: str) -> None:
    async with fallen(tmp_path, "failed") as f:
        answer = await ask(f.stack, path, metadata={"user_id": "u"})
        assert answer.status_code == 200, answer.text
        assert answer.headers["x-gateway-task"] == "naming"
        assert answer.headers["x-gateway-fallback"] == MODEL
        assert answer.headers["x-gateway-fallback-reason"] == "failed"
        assert "x-gateway-adapter" not in answer.headers
        assert answer.json()["model"] == "base"
        asked = f.other.completions[0]
        assert asked.path == "/v1/chat/completions"
        assert asked.headers["authorization"] == f"Bearer {SECRET}"
        body: dict[str, Any] = asked.json
        assert body["messages"] == [
            {"role": "system", "content": "Name the concept."},
            {"role": "user", "content": "cat"},
        ]
        assert (body["temperature"], body["max_tokens"]) == (0, 9 if path == MESSAGES else 24)
        schema = body["response_format"]["json_schema"]
        assert (schema["schema"], schema["strict"]) == ({"type": "string"}, True)
        assert "metadata" not in body
        assert f.outcomes() == {("failed", "answered"): 1}
        assert (counted(f, "prompt_tokens_total"), counted(f, "completion_tokens_total")) == (7, 2)


async def test_sdk_of_anthropic_reads_message_and_stream(tmp_path: Path) -> None:
    async with fallen(tmp_path, "failed") as f, anthropic(f) as client:
        asked: Any = asked_on(MESSAGES)
        raw = await client.messages.with_raw_response.create(**asked)
        message = await raw.parse()
        assert raw.headers["request-id"] == raw.headers["x-request-id"]
        assert [block.to_dict() for block in message.content] == [{"type": "text", "text": "Paris"}]
        assert (message.stop_reason, message.usage.input_tokens, message.usage.output_tokens) == (
            "end_turn",
            7,
            2,
        )
        async with client.messages.stream(**asked) as stream:
            text = "".join([part async for part in stream.text_stream])
            final = await stream.get_final_message()
        assert text == "Paris"
        assert final.content[0].to_dict() == {"type": "text", "text": "Paris"}
        assert (final.model, final.stop_reason, final.usage) == ("base", "end_turn", message.usage)
        assert f.outcomes() == {("failed", "answered"): 2}
        assert counted(f, "completion_tokens_total") == 4


async def test_sdk_of_openai_reads_response_and_stream(tmp_path: Path) -> None:
    async with fallen(tmp_path, "failed") as f, openai(f) as client:
        response = await client.responses.create(model="naming", input="cat", temperature=0.5)
        assert (response.output_text, response.status, response.model) == ("Paris", "completed", "base")
        assert response.usage is not None
        assert (response.usage.input_tokens, response.usage.output_tokens) == (7, 2)
        assert (response.temperature, response.max_output_tokens) == (0.5, 24)
        async with client.responses.stream(model="naming", input="cat") as stream:
            kinds = [event.type async for event in stream]
            final = await stream.get_final_response()
        assert kinds == [
            "response.created",
            "response.in_progress",
            "response.output_item.added",
            "response.content_part.added",
            "response.output_text.delta",
            "response.output_text.delta",
            "response.output_text.done",
            "response.content_part.done",
            "response.output_item.done",
            "response.completed",
        ]
        assert (final.output_text, final.usage) == ("Paris", response.usage)
        assert f.outcomes() == {("failed", "answered"): 2}


async def test_events_of_a_response_are_numbered_and_named(tmp_path: Path) -> None:
    async with fallen(tmp_path, "failed") as f:
        found = events((await ask(f.stack, RESPONSES, stream=True)).text)
        assert [event["sequence_number"] for _, event in found] == list(range(len(found)))
        assert all(name == event["type"] for name, event in found)
        items = {event["item_id"] for _, event in found if "item_id" in event}
        assert items == {found[-1][1]["response"]["output"][0]["id"]}


async def test_tools_are_called_in_anthropics_form(tmp_path: Path) -> None:
    call = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": '{"x":1}'}}
    async with fallen(tmp_path, "failed") as f, anthropic(f) as client:
        fields: Any = asked_on(MESSAGES, tools=ANTHROPICS, tool_choice={"type": "none"})
        f.other.answers["base"] = whole({"content": "Let me.", "tool_calls": [call]}, "tool_calls")
        message = await client.messages.create(**fields)
        text = {"type": "text", "text": "Let me."}
        first = {"type": "tool_use", "id": "call_1", "name": "f", "input": {"x": 1}}
        second = {"type": "tool_use", "id": "call_2", "name": "g", "input": {}}
        assert [block.to_dict() for block in message.content] == [text, first]
        assert message.stop_reason == "tool_use"
        usage = message.usage
        assert (usage.input_tokens, usage.cache_read_input_tokens, usage.output_tokens) == (5, 4, 3)
        f.other.answers["base"] = streamed(*CALLS)
        async with client.messages.stream(**fields) as stream:
            final = await stream.get_final_message()
        assert [block.to_dict() for block in final.content] == [text, first, second]
        assert (final.stop_reason, final.usage.cache_read_input_tokens) == ("tool_use", 4)
        asked: dict[str, Any] = f.other.completions[0].json
        assert asked["tool_choice"] == "none"
        assert [tool["function"]["name"] for tool in asked["tools"]] == ["f", "g"]


async def test_tools_are_called_in_openais_form(tmp_path: Path) -> None:
    call = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": '{"x":1}'}}
    async with fallen(tmp_path, "failed") as f, openai(f) as client:
        fields: Any = asked_on(RESPONSES, tools=OPENAIS, tool_choice="none")
        f.other.answers["base"] = whole({"content": None, "tool_calls": [call]}, "tool_calls")
        (item,) = (await client.responses.create(**fields)).output
        assert item.type == "function_call"
        assert (item.call_id, item.name, item.arguments) == ("call_1", "f", '{"x":1}')
        f.other.answers["base"] = streamed(*CALLS)
        async with client.responses.stream(**fields) as stream:
            final = await stream.get_final_response()
        said = [
            (item.call_id, item.name, item.arguments) if item.type == "function_call" else item.type
            for item in final.output
        ]
        assert said == ["message", ("call_1", "f", '{"x":1}'), ("call_2", "g", "{}")]
        assert final.output_text == "Let me."
        assert final.usage is not None
        assert final.usage.input_tokens_details.cached_tokens == 4
        assert final.usage.output_tokens_details.reasoning_tokens == 2
        assert [tool.to_dict()["name"] for tool in final.tools] == ["f", "g"]


@pytest.mark.parametrize("streaming", [True, False])
@pytest.mark.parametrize(
    ("finish", "stop_reason", "status", "reason"),
    [
        ("length", "max_tokens", "incomplete", "max_output_tokens"),
        ("content_filter", "refusal", "incomplete", "content_filter"),
        ("stop", "end_turn", "completed", None),
    ],
)
async def test_why_it_ended_is_said(
    tmp_path: Path, streaming: bool, finish: str, stop_reason: str, status: str, reason: str | None
) -> None:
    async with fallen(tmp_path, "failed") as f:
        answer = streamed({"content": "Pa"}, finish=finish) if streaming else whole({"content": "Pa"}, finish)
        f.other.answers["base"] = answer
        message, response = [await ask(f.stack, path, stream=streaming) for path in (MESSAGES, RESPONSES)]
        if streaming:
            assert events(message.text)[-2][1]["delta"]["stop_reason"] == stop_reason
            name, event = events(response.text)[-1]
            assert name == f"response.{status}"
            document = event["response"]
        else:
            assert message.json()["stop_reason"] == stop_reason
            document = response.json()
        assert (document["status"], document["output"][0]["status"]) == (status, status)
        assert (document["incomplete_details"] or {"reason": None})["reason"] == reason


@pytest.mark.parametrize("streaming", [True, False])
async def test_answer_of_nothing_has_its_form(tmp_path: Path, streaming: bool) -> None:
    async with fallen(tmp_path, "failed") as f:
        f.other.answers["base"] = streamed() if streaming else whole({"content": ""})
        message, response = [await ask(f.stack, path, stream=streaming) for path in (MESSAGES, RESPONSES)]
        if streaming:
            names = [name for name, _ in events(message.text)]
            assert names == ["message_start", "message_delta", "message_stop"]
            document = events(response.text)[-1][1]["response"]
        else:
            assert message.json()["content"] == []
            document = response.json()
        assert document["output"][0]["content"][0]["text"] == ""


async def test_refusal_of_the_other_model_is_passed_on(tmp_path: Path) -> None:
    async with fallen(tmp_path, "failed") as f:
        f.other.answers["base"] = whole({"content": None, "refusal": "No."})
        message = (await ask(f.stack, MESSAGES)).json()
        assert (message["stop_reason"], message["content"][0]["text"]) == ("refusal", "No.")
        response = (await ask(f.stack, RESPONSES)).json()
        assert response["output"][0]["content"] == [{"type": "refusal", "refusal": "No."}]
        said = (await f.stack.chat()).json()["choices"][0]["message"]
        assert said == {"role": "assistant", "content": None, "refusal": "No."}


@pytest.mark.parametrize(
    ("path", "fields", "why"),
    [
        (MESSAGES, {"top_k": 3}, "it cannot honour 'top_k'"),
        (MESSAGES, {"thinking": {"type": "adaptive"}}, "it cannot honour 'thinking'"),
        (RESPONSES, {"top_k": 3}, "it cannot honour 'top_k'"),
        (RESPONSES, {"top_logprobs": 2}, "it cannot honour 'top_logprobs'"),
    ],
)
async def test_what_it_cannot_honour_is_not_dropped(
    tmp_path: Path, path: str, fields: dict[str, Any], why: str
) -> None:
    async with fallen(tmp_path, "failed") as f:
        answer = await ask(f.stack, path, **fields)
        assert answer.status_code == 503
        assert why in answer.json()["error"]["message"]
        assert (answer.json().get("type"), answer.json()["error"]["type"]) == (
            ("error", "overloaded_error") if path == MESSAGES else (None, "service_unavailable")
        )
        assert not f.other.completions
        assert f.outcomes() == {("failed", "refused"): 1}


@BOTH
@pytest.mark.parametrize("streaming", [True, False])
async def test_provider_that_fails_leaves_the_first_error_and_no_secret(
    tmp_path: Path, path: str, streaming: bool
) -> None:
    async with fallen(tmp_path, "failed") as f:
        said = json.dumps({"error": {"message": f"wrong key {SECRET} at http://10.0.0.9", "type": "x"}})
        f.other.answers["base"] = Answer(status=401, body=said.encode())
        answer = await ask(f.stack, path, stream=streaming)
        assert answer.status_code == 503
        assert "AuthenticationError (401)" in answer.json()["error"]["message"]
        assert SECRET not in answer.text
        assert "10.0.0.9" not in answer.text
        assert f.outcomes() == {("failed", "failed"): 1}


@BOTH
async def test_stream_that_breaks_off_ends_with_the_apis_error_event(tmp_path: Path, path: str) -> None:
    async with fallen(tmp_path, "failed") as f:
        f.other.answers["base"] = Answer(tokens=["a", "b", "c"], break_before=2)
        answer = await ask(f.stack, path, stream=True)
        name, event = events(answer.text)[-1]
        assert (name, event["type"]) == ("error", "error")
        assert "The fallback 'openai/base' broke off" in event["error"]["message"]
        if path == MESSAGES:
            assert event["error"]["type"] == "api_error"
        else:
            assert event["code"] == "fallback_failed"
        await eventually(lambda: f.outcomes() == {("failed", "failed"): 1})


async def test_call_that_is_no_json_is_a_failure_where_json_is_promised(tmp_path: Path) -> None:
    call = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": '{"x":'}}
    async with fallen(tmp_path, "failed") as f:
        f.other.answers["base"] = whole({"content": None, "tool_calls": [call]}, "length")
        answer = await ask(f.stack, MESSAGES)
        assert answer.status_code == 503
        assert "no JSON object" in answer.json()["error"]["message"]
        response = (await ask(f.stack, RESPONSES)).json()  # there it is a text
        assert (response["status"], response["output"][0]["arguments"]) == ("incomplete", '{"x":')


@BOTH
async def test_calls_whose_pieces_come_mixed_end_the_stream(tmp_path: Path, path: str) -> None:
    async with fallen(tmp_path, "failed") as f:
        f.other.answers["base"] = streamed(*CALLS, piece(0, "{}"))
        answer = await ask(f.stack, path, stream=True)
        name, event = events(answer.text)[-1]
        assert name == "error"
        assert "came mixed" in event["error"]["message"]


@BOTH
async def test_cold_engine_is_not_waited_for_unless_the_request_is_not_for_it(
    tmp_path: Path, path: str
) -> None:
    async with other_server() as (other, settings):
        fallback = settings | {"when": ["cold"]}
        async with controlled(tmp_path, "stopped", lazy=True, fallback=fallback, provider=Provider(ENV)) as c:
            answer = await ask(c.stack, path)
            assert answer.headers["x-gateway-fallback-reason"] == "cold"
            assert len(other.completions) == 1
            asking = asyncio.create_task(ask(c.stack, path, top_k=3))
            await eventually(lambda: c.stack.gateway.room.waiting == 1)
            await c.state("ready", lazy=True)
            assert (await asking).headers["x-gateway-cold"] == "true"
            assert len(other.completions) == 1


@pytest.mark.parametrize("path", ["/v1/messages/count_tokens", "/tokenize", "/detokenize"])
async def test_counting_stays_the_engines(tmp_path: Path, path: str) -> None:
    async with fallen(tmp_path, "failed") as f:
        body: dict[str, Any] = {"model": "naming", "prompt": "cat"}
        if path == "/detokenize":
            body = {"model": "naming", "tokens": [1]}
        elif path != "/tokenize":
            body = {"model": "naming", "messages": [{"role": "user", "content": "cat"}]}
        answer = await f.stack.client.post(path, json=body)
        assert answer.status_code == 503, answer.text
        assert "have none" in answer.json()["error"]["message"]
        assert not f.other.completions
