"""openai-python against the real stack, and its exceptions against a gateway with keys and narrow bounds."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import openai
import pytest
from openai import AsyncOpenAI, OpenAI
from openai.types.chat import ChatCompletionMessageParam
from pydantic import BaseModel, Field

PROMPT = "Definition: a domesticated animal that barks\nMembers: poodle, beagle, terrier"
ASKED: list[ChatCompletionMessageParam] = [{"role": "user", "content": PROMPT}]


class Named(BaseModel):
    name: str = Field(max_length=24)


@pytest.fixture
def client(url: str) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0, timeout=240) as client:
        yield client


@pytest.fixture
def fake(fake_url: str) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"{fake_url}/v1", api_key="team-a", max_retries=0, timeout=10) as client:
        yield client


def test_chat_whole_and_streamed_give_one_answer(client: OpenAI) -> None:
    whole = client.chat.completions.create(model="naming", messages=ASKED)
    assert whole.model.startswith("naming@")
    assert whole.usage is not None
    assert whole.usage.completion_tokens
    stream = client.chat.completions.create(
        model="naming", messages=ASKED, stream=True, stream_options={"include_usage": True}
    )
    chunks = list(stream)
    text = "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)
    assert text == whole.choices[0].message.content != ""
    assert chunks[-1].usage == whole.usage


def test_streaming_helper_gathers_the_answer(client: OpenAI) -> None:
    with client.chat.completions.stream(model="naming", messages=ASKED) as stream:
        kinds = {event.type for event in stream}
        answer = stream.get_final_completion()
    assert {"chunk", "content.delta", "content.done"} <= kinds
    assert answer.choices[0].message.content


async def test_async_client_answers_and_streams(url: str) -> None:
    async with AsyncOpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0, timeout=240) as client:
        whole = await client.chat.completions.create(model="naming", messages=ASKED)
        stream = await client.chat.completions.create(model="naming", messages=ASKED, stream=True)
        parts = [choice.delta.content or "" async for chunk in stream for choice in chunk.choices]
    assert "".join(parts) == whole.choices[0].message.content


def test_parse_gives_a_pydantic_model(client: OpenAI) -> None:
    answer = client.chat.completions.parse(
        model="naming", messages=ASKED, response_format=Named, max_tokens=64
    )
    parsed = answer.choices[0].message.parsed
    assert isinstance(parsed, Named)
    assert parsed.name


def test_forced_tool_is_called_with_arguments_of_its_schema(client: OpenAI) -> None:
    schema: dict[str, object] = {
        "type": "object",
        "properties": {"name": {"type": "string"}},
        "required": ["name"],
        "additionalProperties": False,
    }
    answer = client.chat.completions.create(
        model="naming",
        messages=ASKED,
        max_tokens=96,
        tools=[{"type": "function", "function": {"name": "save", "parameters": schema, "strict": True}}],
        tool_choice="required",
    )
    calls = answer.choices[0].message.tool_calls
    assert calls is not None
    (call,) = calls
    assert call.type == "function"
    assert call.function.name == "save"
    assert set(json.loads(call.function.arguments)) == {"name"}


def test_sampling_parameters_reach_the_engine(client: OpenAI) -> None:
    answer = client.chat.completions.create(
        model="base",
        messages=ASKED,
        max_tokens=8,
        n=2,
        seed=3,
        temperature=1,
        logprobs=True,
        top_logprobs=2,
        stop=["\n"],
        extra_body={"min_tokens": 1},
    )
    assert [choice.index for choice in answer.choices] == [0, 1]
    logprobs = answer.choices[0].logprobs
    assert logprobs is not None
    assert logprobs.content
    assert len(logprobs.content[0].top_logprobs) == 2


def test_structured_outputs_of_vllm_go_through_extra_body(client: OpenAI) -> None:
    choices = {"structured_outputs": {"choice": ["apple", "pear"]}}
    answer = client.chat.completions.create(model="naming", messages=ASKED, extra_body=choices)
    assert answer.choices[0].message.content in ("apple", "pear")


def test_raw_response_has_the_gateways_headers(client: OpenAI) -> None:
    raw = client.chat.completions.with_raw_response.create(
        model="naming", messages=ASKED, extra_headers={"X-Request-Id": "mine-1"}
    )
    assert raw.headers["x-request-id"] == "mine-1"
    assert raw.headers["x-gateway-task"] == "naming"
    assert raw.headers["x-gateway-adapter"] == raw.parse().model
    assert float(raw.headers["x-gateway-overhead-ms"]) >= 0


def test_completions_whole_and_streamed(client: OpenAI) -> None:
    whole = client.completions.create(
        model="base", prompt="The capital of France is", max_tokens=4, temperature=0
    )
    stream = client.completions.create(
        model="base", prompt="The capital of France is", max_tokens=4, temperature=0, stream=True
    )
    assert "".join(chunk.choices[0].text for chunk in stream) == whole.choices[0].text != ""


def test_responses_whole_and_streamed(client: OpenAI) -> None:
    whole = client.responses.create(model="naming", input=PROMPT)
    assert whole.status == "completed"
    with client.responses.stream(model="naming", input=PROMPT) as stream:
        kinds = {event.type for event in stream}
        streamed = stream.get_final_response()
    assert streamed.output_text == whole.output_text != ""
    assert {"response.created", "response.output_text.delta", "response.completed"} <= kinds


def test_pipeline_answers_like_a_model(client: OpenAI) -> None:
    answer = client.chat.completions.create(
        model="concept-naming", messages=[{"role": "user", "content": '["apple", "truck", "banana", "bus"]'}]
    )
    concepts = json.loads(answer.choices[0].message.content or "")["concepts"]
    assert all(concept["name"] for concept in concepts)


def test_models_are_listed_and_retrieved(client: OpenAI) -> None:
    names = [model.id for model in client.models.list()]
    assert names == ["base", "concept", "naming", "concept-naming"]
    assert client.models.retrieve("naming").to_dict()["parent"] == "base"


def test_unknown_model_is_not_found(client: OpenAI) -> None:
    with pytest.raises(openai.NotFoundError, match="Did you mean 'naming'") as caught:
        client.chat.completions.create(model="namng", messages=ASKED)
    assert caught.value.code == "model_not_found"
    assert caught.value.param == "model"
    assert caught.value.request_id


def test_unknown_parameter_is_a_bad_request(client: OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model="naming", messages=ASKED, extra_body={"temprature": 1})
    assert caught.value.param == "temprature"
    assert caught.value.code == "unsupported_parameter"


def test_embeddings_of_a_base_that_makes_none_are_a_bad_request(client: OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="makes no embeddings"):
        client.embeddings.create(model="base", input="x")


def test_wrong_key_is_an_authentication_error(fake: OpenAI) -> None:
    with pytest.raises(openai.AuthenticationError):
        fake.with_options(api_key="nobody's").models.list()


def test_model_that_the_key_may_not_call_is_a_permission_error(fake: OpenAI) -> None:
    with pytest.raises(openai.PermissionDeniedError, match="may not call 'base'"):
        fake.chat.completions.create(model="base", messages=ASKED)


def test_full_task_is_a_rate_limit_error_and_silence_a_time_out(fake: OpenAI) -> None:
    def ask(timeout_s: float) -> Exception | None:
        try:
            fake.with_options(timeout=timeout_s).chat.completions.create(model="concept", messages=ASKED)
        except openai.APIError as error:
            return error
        return None

    def hold() -> Exception | None:
        # One of the others' may have the place when this one comes.
        return next(error for _ in range(1000) if not isinstance(error := ask(3.0), openai.RateLimitError))

    with ThreadPoolExecutor(1) as pool:
        holding = pool.submit(hold)
        refused = next(error for _ in range(20) if isinstance(error := ask(0.2), openai.RateLimitError))
        assert isinstance(holding.result(), openai.APITimeoutError)
    assert refused.response.headers["retry-after"]


def test_address_where_nobody_listens_is_a_connection_error() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{free.getsockname()[1]}/v1"
    with (
        OpenAI(base_url=address, api_key="none", max_retries=0) as client,
        pytest.raises(openai.APIConnectionError),
    ):
        client.models.list()
