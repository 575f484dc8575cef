"""The Anthropic SDK on /v1/messages."""

from __future__ import annotations

from collections.abc import Iterator

import anthropic
import pytest
from anthropic import Anthropic, AsyncAnthropic
from anthropic.types import MessageParam

PROMPT = "Definition: a domesticated animal that barks\nMembers: poodle, beagle, terrier"
ASKED: list[MessageParam] = [{"role": "user", "content": PROMPT}]


@pytest.fixture
def client(url: str) -> Iterator[Anthropic]:
    with Anthropic(base_url=url, api_key="none", max_retries=0, timeout=240) as client:
        yield client


@pytest.fixture
def fake(fake_url: str) -> Iterator[Anthropic]:
    with Anthropic(base_url=fake_url, api_key="team-a", max_retries=0, timeout=10) as client:
        yield client


def text_of(message: anthropic.types.Message) -> str:
    return "".join(block.text for block in message.content if block.type == "text")


def test_message_whole_and_streamed_give_one_answer(client: Anthropic) -> None:
    whole = client.messages.create(model="naming", max_tokens=24, messages=ASKED)
    assert whole.stop_reason == "end_turn"
    assert whole.model.startswith("naming@")
    assert whole.usage.output_tokens
    with client.messages.stream(model="naming", max_tokens=24, messages=ASKED) as stream:
        text = "".join(stream.text_stream)
        final = stream.get_final_message()
    assert text == text_of(final) == text_of(whole) != ""
    assert final.usage.output_tokens == whole.usage.output_tokens


async def test_async_client_answers(url: str) -> None:
    async with AsyncAnthropic(base_url=url, api_key="none", max_retries=0, timeout=240) as client:
        message = await client.messages.create(model="naming", max_tokens=24, messages=ASKED)
    assert text_of(message)


def test_short_answer_says_why_it_ended(client: Anthropic) -> None:
    message = client.messages.create(model="base", max_tokens=2, messages=ASKED)
    assert message.stop_reason == "max_tokens"


def test_tokens_are_counted_as_the_answer_counts_them(client: Anthropic) -> None:
    count = client.messages.count_tokens(model="base", messages=ASKED, system="Answer.")
    message = client.messages.create(model="base", max_tokens=1, messages=ASKED, system="Answer.")
    assert count.input_tokens == message.usage.input_tokens


def test_raw_response_has_the_gateways_headers(client: Anthropic) -> None:
    raw = client.messages.with_raw_response.create(model="naming", max_tokens=4, messages=ASKED)
    assert raw.headers["x-gateway-task"] == "naming"
    assert raw.parse()._request_id == raw.headers["x-request-id"]


def test_models_are_listed(client: Anthropic) -> None:
    assert [model.id for model in client.models.list()] == ["base", "concept", "naming", "concept-naming"]


def test_unknown_model_is_not_found(client: Anthropic) -> None:
    with pytest.raises(anthropic.NotFoundError, match="Did you mean 'naming'") as caught:
        client.messages.create(model="namng", max_tokens=4, messages=ASKED)
    assert caught.value.type == "not_found_error"
    assert caught.value.request_id


def test_missing_max_tokens_is_a_bad_request(client: Anthropic) -> None:
    with pytest.raises(anthropic.BadRequestError, match="max_tokens"):
        client.post("/v1/messages", cast_to=object, body={"model": "naming", "messages": ASKED})


def test_wrong_key_is_an_authentication_error(fake_url: str) -> None:
    with (
        Anthropic(base_url=fake_url, api_key="nobody's", max_retries=0) as client,
        pytest.raises(anthropic.AuthenticationError),
    ):
        client.messages.create(model="naming", max_tokens=4, messages=ASKED)


def test_key_goes_in_x_api_key(fake: Anthropic) -> None:
    assert text_of(fake.messages.create(model="naming", max_tokens=4, messages=ASKED))


def test_model_that_the_key_may_not_call_is_a_permission_error(fake: Anthropic) -> None:
    with pytest.raises(anthropic.PermissionDeniedError):
        fake.messages.create(model="base", max_tokens=4, messages=ASKED)
