"""`/v1/responses` on a real vLLM, by OpenAI's SDK: whole, as events, with a schema or tools, a pipeline."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from openai import APIError, BadRequestError, NotFoundError, OpenAI

from tests.engine.asked import CITY, CLUSTER, NAMING, stream_and_leave
from tests.engine.conftest import RealStack

pytestmark = pytest.mark.engine
WEATHER: Any = {
    "type": "function",
    "name": "get_weather",
    "parameters": CITY,
    "strict": True,
}


@pytest.fixture
def client(real: RealStack) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"{real.url}/v1", api_key="none", max_retries=0, timeout=240) as made:
        yield made


def test_a_task_answers_with_its_contract(client: OpenAI) -> None:
    answer = client.responses.create(model="naming", input=NAMING)
    assert answer.output_text
    assert (answer.status, answer.instructions) == ("completed", "Name the concept.")
    assert answer.max_output_tokens == 24
    assert answer.usage is not None
    assert answer.usage.output_tokens > 0


def test_conversation_and_own_instructions(client: OpenAI) -> None:
    items: Any = [
        {"role": "user", "content": "Hello"},
        {"role": "assistant", "content": "Hi."},
        {"role": "user", "content": [{"type": "input_text", "text": "The capital of France is"}]},
    ]
    answer = client.responses.create(
        model="base", input=items, instructions="Be short.", max_output_tokens=16, temperature=0
    )
    assert "Paris" in answer.output_text
    assert answer.instructions == "Be short."


@pytest.mark.parametrize(("model", "given"), [("naming", NAMING), ("concept-naming", CLUSTER)])
def test_events_come_in_order_and_end_with_the_response(client: OpenAI, model: str, given: str) -> None:
    events = list(client.responses.create(model=model, input=given, stream=True))
    kinds = [event.type for event in events]
    assert kinds[:2] == ["response.created", "response.in_progress"]
    assert kinds[-1] == "response.completed"
    assert [event.sequence_number for event in events] == list(range(len(events)))
    text = "".join(event.delta for event in events if event.type == "response.output_text.delta")
    last = events[-1]
    assert last.type == "response.completed"
    assert text == last.response.output_text
    assert last.response.usage is not None
    assert last.response.usage.total_tokens > 0


def test_the_sdks_own_stream_helper_follows(client: OpenAI) -> None:
    with client.responses.stream(model="naming", input=NAMING) as stream:
        texts = [event.delta for event in stream if event.type == "response.output_text.delta"]
        assert "".join(texts) == stream.get_final_response().output_text


def test_structured_text_follows_its_schema(client: OpenAI) -> None:
    schema: Any = {"type": "object", "properties": {"n": {"enum": [1, 2]}}, "required": ["n"]}
    schema["additionalProperties"] = False
    text: Any = {"format": {"type": "json_schema", "name": "n", "schema": schema, "strict": True}}
    answer = client.responses.create(model="base", input="One or two?", text=text, max_output_tokens=24)
    assert json.loads(answer.output_text)["n"] in (1, 2)


def test_tool_is_called(client: OpenAI) -> None:
    answer = client.responses.create(
        model="base",
        input="What is the weather in Paris? Use the tool.",
        tools=[WEATHER],
        tool_choice="required",
        max_output_tokens=80,
        temperature=0,
    )
    (call,) = [item for item in answer.output if item.type == "function_call"]
    assert call.name == "get_weather"
    assert json.loads(call.arguments)["city"]


def test_pipeline_is_a_response(client: OpenAI) -> None:
    answer = client.responses.create(model="concept-naming", input=CLUSTER)
    assert all(concept["name"] for concept in json.loads(answer.output_text)["concepts"])
    assert answer.model == "concept-naming"


@pytest.mark.parametrize(
    "extra",
    [
        {"previous_response_id": "resp_1"},
        {"background": True},
        {"conversation": "conv_1"},
        {"tools": [{"type": "web_search"}], "tool_choice": "required"},
        {"prompt": {"id": "pmpt_1"}},
        {"max_output_tokens": 0},
        {"max_ouput_tokens": 1},
    ],
)
def test_what_cannot_be_honoured_is_a_400_that_names_it(client: OpenAI, extra: Any) -> None:
    with pytest.raises(BadRequestError) as raised:
        client.responses.create(model="naming", input=NAMING, extra_body=extra)
    assert raised.value.param is not None
    assert raised.value.param.startswith(next(iter(extra)))


def test_a_response_is_not_kept(client: OpenAI) -> None:
    kept = client.responses.create(model="naming", input=NAMING)
    for call in (client.responses.retrieve, client.responses.cancel, client.responses.delete):
        with pytest.raises(NotFoundError, match="no response is kept"):
            call(kept.id)


def test_a_fault_in_a_stream_is_an_error_of_the_sdk(real: RealStack, client: OpenAI) -> None:
    """Before its first event a stream's refusal has its own status."""
    nonsense: Any = [{"type": "nonsense"}]
    with pytest.raises(APIError):
        list(client.responses.create(model="naming", input=nonsense, stream=True))
    real.until_idle()


def test_client_that_leaves_frees_the_engine(real: RealStack) -> None:
    endless = {"input": NAMING, "max_output_tokens": 1500, "ignore_eos": True}
    stream_and_leave(real, "/v1/responses", model="naming", **endless)
