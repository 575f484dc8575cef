"""The other routes on a real vLLM, bare: tokens, embeddings, tools, and what would harm the engine."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from tests.engine.asked import CITY, post
from tests.engine.conftest import RealStack

pytestmark = pytest.mark.engine
USER = [{"role": "user", "content": "The capital of France is"}]


def tool(parameters: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": "f", "parameters": parameters, "strict": True}}


def test_tokens_go_there_and_back_with_the_tasks_system_prompt(real: RealStack) -> None:
    asked = post(real, "/tokenize", model="naming", messages=USER)
    assert asked.status_code == 200, asked.text
    ids = asked.json()["tokens"]
    text = post(real, "/detokenize", model="naming", tokens=ids).json()["prompt"]
    assert "Name the concept." in text
    assert "The capital of France is" in text
    prompt = post(real, "/tokenize", prompt="hello there").json()
    assert post(real, "/detokenize", tokens=prompt["tokens"]).json()["prompt"] == "hello there"
    answered = post(real, "/v1/chat/completions", model="naming", messages=USER, max_tokens=1)
    assert answered.json()["usage"]["prompt_tokens"] == len(ids)


def test_embeddings_are_refused_with_the_reason(real: RealStack) -> None:
    answer = post(real, "/v1/embeddings", model="base", input="x")
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "unsupported_endpoint")


def test_models_say_what_they_are_and_take(real: RealStack) -> None:
    listed = {one["id"]: one for one in httpx.get(f"{real.url}/v1/models").json()["data"]}
    assert listed["naming"]["root"].startswith("naming@")
    assert (listed["naming"]["parent"], listed["naming"]["max_model_len"]) == ("base", 2048)
    assert not listed["naming"]["capabilities"]["tools"]  # the demo's base calls none of its own choice
    assert not listed["concept-naming"]["capabilities"]["tools"]


def test_tool_is_called_in_a_chat(real: RealStack) -> None:
    asked = [{"role": "user", "content": "What is the weather in Paris? Use the tool."}]
    named = {"type": "function", "function": {"name": "f"}}
    for choice in ("required", named):
        answer = post(
            real,
            "/v1/chat/completions",
            model="base",
            messages=asked,
            tools=[tool(CITY)],
            tool_choice=choice,
            max_tokens=80,
            temperature=0,
        )
        (call,) = answer.json()["choices"][0]["message"]["tool_calls"]
        assert json.loads(call["function"]["arguments"]) == {"city": "Paris"}


def test_tool_of_a_free_choice_is_refused_where_nothing_reads_the_bases_calls(real: RealStack) -> None:
    answer = post(real, "/v1/chat/completions", model="base", messages=USER, tools=[tool(CITY)])
    assert answer.status_code == 400
    assert "base.tool_call_parser" in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    "fields",
    [
        {
            "n": 2,
            "temperature": 1,
            "seed": 1,
            "stop": ["x"],
            "logprobs": True,
            "top_logprobs": 2,
            "user": "u",
        },
        {"min_p": 0.1, "top_k": 5, "repetition_penalty": 1.1, "min_tokens": 1, "cache_salt": "s"},
        {"return_token_ids": True, "prompt_logprobs": 1, "store": False, "metadata": {"a": "b"}},
        {"use_beam_search": True, "n": 2},
        {"reasoning_effort": "low", "include_reasoning": True, "parallel_tool_calls": True},
        {"chat_template_kwargs": {"enable_thinking": False}, "service_tier": "auto"},
        {"structured_outputs": {"choice": ["a", "b"]}},
        {"tools": [tool(CITY)], "tool_choice": "none"},
    ],
)
def test_parameters_pass(real: RealStack, fields: dict[str, Any]) -> None:
    answer = post(real, "/v1/chat/completions", model="naming", messages=USER, max_tokens=3, **fields)
    assert answer.status_code == 200, answer.text
    assert len(answer.json()["choices"]) == fields.get("n", 1)


DEEP: Any = {"type": "string"}
for _ in range(200):
    DEEP = {"type": "array", "items": DEEP}
BAD_SCHEMAS: list[Any] = [
    {"type": "nonsense"},
    {"type": "object", "properties": {"a": {"type": 5}}},
    {"type": "object", "properties": "x"},
    {"$ref": "#/nowhere"},
    {"type": "object", "properties": {"a": {"enum": []}}},
    DEEP,
    {"type": "object", "properties": {f"p{i}": {"type": "string"} for i in range(2000)}},
]


@pytest.mark.parametrize("schema", BAD_SCHEMAS, ids=range(len(BAD_SCHEMAS)))
def test_a_bad_schema_is_a_400_and_the_engine_lives_on(real: RealStack, schema: Any) -> None:
    formatted = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    for fields in (
        {"tools": [tool(schema)]},
        {"tools": [tool(schema)], "tool_choice": "required"},
        {"response_format": formatted},
        {"structured_outputs": {"json": schema}},
    ):
        answer = post(real, "/v1/chat/completions", model="base", messages=USER, max_tokens=4, **fields)
        assert answer.status_code == 400, answer.text
        assert answer.json()["error"]["message"]
    alive = post(real, "/v1/chat/completions", model="base", messages=USER, max_tokens=1)
    assert alive.status_code == 200


@pytest.mark.parametrize(
    "constraint",
    [{"regex": "foo**"}, {"regex": "(?=a)b"}, {"grammar": "root ::= ("}, {"json": "no json"}, {"choice": []}],
)
def test_a_bad_constraint_is_a_400_and_the_engine_lives_on(real: RealStack, constraint: Any) -> None:
    fields = {"model": "base", "messages": USER, "max_tokens": 4, "structured_outputs": constraint}
    assert post(real, "/v1/chat/completions", **fields).status_code == 400
    assert post(real, "/v1/completions", model="base", prompt="x", max_tokens=1).status_code == 200


def test_media_are_refused_and_never_fetched(real: RealStack) -> None:
    part = {"type": "image_url", "image_url": {"url": "http://127.0.0.1:9/x.png"}}
    messages = [{"role": "user", "content": [part]}]
    answer = post(real, "/v1/chat/completions", model="base", messages=messages, max_tokens=1)
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "media_address_refused"
