"""`/v1/messages` on a real vLLM, by Anthropic's SDK: whole, as events, counted, with tools, as a pipeline."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import anthropic
import httpx
import pytest
from anthropic import Anthropic

from tests.engine.asked import CITY, CLUSTER, NAMING, stream_and_leave
from tests.engine.conftest import RealStack

pytestmark = pytest.mark.engine
GREEDY = {"temperature": 0}
WEATHER: Any = {
    "name": "get_weather",
    "description": "the weather of a city",
    "input_schema": CITY,
    "strict": True,
}


@pytest.fixture
def client(real: RealStack) -> Iterator[Anthropic]:
    with Anthropic(base_url=real.url, api_key="none", max_retries=0, timeout=240) as made:
        yield made


def user(text: str) -> Any:
    return [{"role": "user", "content": text}]


def text_of(message: anthropic.types.Message) -> str:
    return "".join(block.text for block in message.content if block.type == "text")


def test_a_task_answers_with_its_contract(client: Anthropic) -> None:
    answer = client.messages.create(model="naming", messages=user(NAMING), max_tokens=24)
    assert (answer.type, answer.role, answer.stop_reason) == ("message", "assistant", "end_turn")
    assert text_of(answer)
    assert answer.usage.output_tokens > 0
    assert answer._request_id
    counted = client.messages.count_tokens(model="naming", messages=user(NAMING))
    assert counted.input_tokens == answer.usage.input_tokens
    own = client.messages.count_tokens(model="naming", messages=user(NAMING), system="x " * 30)
    assert own.input_tokens > counted.input_tokens


@pytest.mark.parametrize(("model", "given"), [("naming", NAMING), ("concept-naming", CLUSTER)])
def test_stream_adds_up_to_the_message(client: Anthropic, model: str, given: str) -> None:
    with client.messages.stream(model=model, messages=user(given), max_tokens=512) as stream:
        kinds = [event.type for event in stream]
        message = stream.get_final_message()
    assert (kinds[0], kinds[-1]) == ("message_start", "message_stop")
    assert text_of(message)
    assert message.stop_reason == "end_turn"
    assert message.usage.output_tokens > 0


def test_blocks_stop_sequences_and_a_conversation(client: Anthropic) -> None:
    messages: Any = [
        {"role": "user", "content": [{"type": "text", "text": "Count: one"}]},
        {"role": "assistant", "content": "two"},
        {"role": "user", "content": "The capital of France is"},
    ]
    answer = client.messages.create(
        model="base", messages=messages, max_tokens=24, stop_sequences=["Paris"], extra_body=GREEDY
    )
    assert (answer.stop_reason, answer.stop_sequence) == ("stop_sequence", "Paris")


def test_structured_text_follows_its_schema(client: Anthropic) -> None:
    schema = {"type": "object", "properties": {"n": {"enum": [1, 2]}}, "required": ["n"]}
    wanted: Any = {"format": {"type": "json_schema", "schema": schema}}
    answer = client.messages.create(
        model="base", messages=user("One or two?"), max_tokens=24, output_config=wanted
    )
    assert json.loads(text_of(answer))["n"] in (1, 2)


def test_tool_is_called_whole_and_streamed(client: Anthropic) -> None:
    asked: Any = {
        "model": "base",
        "messages": user("What is the weather in Paris? Use the tool."),
        "tools": [WEATHER],
        "tool_choice": {"type": "any"},
        "max_tokens": 80,
        "extra_body": GREEDY,
    }
    answer = client.messages.create(**asked)
    with client.messages.stream(**asked) as stream:
        streamed = stream.get_final_message()
    messages: Any = (answer, streamed)
    for message in messages:
        (call,) = [block for block in message.content if block.type == "tool_use"]
        assert (call.name, message.stop_reason) == ("get_weather", "tool_use")
        assert call.input == {"city": "Paris"}


def test_pipeline_is_a_message(client: Anthropic) -> None:
    answer = client.messages.create(model="concept-naming", messages=user(CLUSTER), max_tokens=512)
    assert all(concept["name"] for concept in json.loads(text_of(answer))["concepts"])
    with pytest.raises(anthropic.BadRequestError, match="pipeline"):
        client.messages.count_tokens(model="concept-naming", messages=user(CLUSTER))


def test_errors_are_the_sdks_own(client: Anthropic) -> None:
    with pytest.raises(anthropic.NotFoundError, match="Did you mean 'naming'") as missing:
        client.messages.create(model="namng", messages=user("x"), max_tokens=4)
    assert missing.value.body["error"]["type"] == "not_found_error"  # type: ignore[index]
    assert missing.value.request_id
    bad: Any
    for bad in (
        {"max_tokens": 0},
        {"extra_body": {"mcp_servers": [{"type": "url", "url": "http://x", "name": "x"}]}},
        {"extra_body": {"stop": ["x"]}},
        {
            "tools": [{"type": "web_search_20250305", "name": "web_search"}],
            "tool_choice": {"type": "any"},
        },
        {"extra_body": {"temperature": "hot"}},
        {
            "messages": [
                {"role": "user", "content": [{"type": "image", "source": {"type": "url", "url": "x"}}]}
            ]
        },
        {"tools": [{"name": "f", "input_schema": {"type": "nonsense"}, "strict": True}]},
    ):
        asked = {"model": "base", "messages": user("x"), "max_tokens": 4, **bad}
        with pytest.raises(anthropic.BadRequestError) as raised:
            client.messages.create(**asked)
        assert raised.value.body["error"]["type"] == "invalid_request_error", bad  # type: ignore[index]
    assert text_of(client.messages.create(model="base", messages=user("Hello"), max_tokens=4))


def test_without_max_tokens_the_error_is_anthropics(real: RealStack) -> None:
    answer = httpx.post(f"{real.url}/v1/messages", json={"model": "naming", "messages": user("x")})
    assert answer.status_code == 400
    assert answer.json()["error"] == {
        "type": "invalid_request_error",
        "message": "max_tokens: Field required",
    }


def test_models_are_listed(client: Anthropic) -> None:
    listed = {model.id: model for model in client.models.list()}
    assert {"base", "naming", "concept", "concept-naming"} <= set(listed)
    assert client.models.retrieve("naming").display_name == "names one concept"


def test_client_that_leaves_frees_the_engine(real: RealStack) -> None:
    endless = user("Write on and on. " * 20)
    stream_and_leave(real, "/v1/messages", model="naming", messages=endless, max_tokens=1500)
