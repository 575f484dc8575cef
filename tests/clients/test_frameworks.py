"""LangChain, LlamaIndex and the LiteLLM SDK, as their users call them."""

from __future__ import annotations

from typing import Any

import litellm
import pytest
from langchain_openai import ChatOpenAI
from llama_index.core.llms import ChatMessage
from llama_index.llms.openai_like import OpenAILike
from pydantic import BaseModel, Field, SecretStr

PROMPT = "Definition: a domesticated animal that barks\nMembers: poodle, beagle, terrier"


class Named(BaseModel):
    name: str = Field(max_length=24)


@pytest.fixture
def langchain(url: str) -> ChatOpenAI:
    return ChatOpenAI(model="naming", base_url=f"{url}/v1", api_key=SecretStr("none"), timeout=240)


@pytest.fixture
def llama(url: str) -> Any:
    return OpenAILike(
        model="naming",
        api_base=f"{url}/v1",
        api_key="none",
        is_chat_model=True,
        temperature=0,
        max_tokens=24,
        timeout=240,
    )


def test_langchain_invokes_streams_and_batches(langchain: ChatOpenAI) -> None:
    answer = langchain.invoke(PROMPT)
    assert answer.content
    assert "".join(str(chunk.content) for chunk in langchain.stream(PROMPT)) == answer.content
    assert [one.content for one in langchain.batch([PROMPT, PROMPT])] == [answer.content] * 2


def test_langchain_gives_structured_output(langchain: ChatOpenAI) -> None:
    longer = langchain.model_copy(update={"max_tokens": 64})
    named = longer.with_structured_output(Named, method="json_schema").invoke(PROMPT)
    assert isinstance(named, Named)


def test_llama_index_chats_and_streams(llama: Any) -> None:
    messages = [ChatMessage(role="user", content=PROMPT)]
    answer = llama.chat(messages)
    assert answer.message.content
    *_, last = llama.stream_chat(messages)
    assert last.message.content == answer.message.content
    assert llama.complete(PROMPT).text == answer.message.content


def test_llama_index_completes_a_text(url: str) -> None:
    base = OpenAILike(
        model="base", api_base=f"{url}/v1", api_key="none", is_chat_model=False, temperature=0, max_tokens=4
    )
    whole = base.complete("The capital of France is").text
    *_, last = base.stream_complete("The capital of France is")
    assert last.text == whole != ""


async def test_llama_index_answers_asynchronously(llama: Any) -> None:
    messages = [ChatMessage(role="user", content=PROMPT)]
    answer = await llama.achat(messages)
    assert answer.message.content
    parts = [part async for part in await llama.astream_chat(messages)]
    assert parts[-1].message.content == answer.message.content


def test_litellm_answers_and_streams(url: str) -> None:
    asked: dict[str, Any] = {
        "model": "openai/naming",
        "api_base": f"{url}/v1",
        "api_key": "none",
        "messages": [{"role": "user", "content": PROMPT}],
        "timeout": 240,
    }
    whole = litellm.completion(**asked).choices[0].message.content
    stream = litellm.completion(**asked, stream=True)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in stream) == whole != ""


async def test_litellm_answers_asynchronously(url: str) -> None:
    answer = await litellm.acompletion(
        model="openai/naming",
        api_base=f"{url}/v1",
        api_key="none",
        messages=[{"role": "user", "content": PROMPT}],
        timeout=240,
    )
    assert answer.choices[0].message.content


def test_litellm_says_that_a_model_is_unknown(url: str) -> None:
    with pytest.raises(litellm.exceptions.NotFoundError, match="Did you mean 'naming'"):
        litellm.completion(
            model="openai/namng",
            api_base=f"{url}/v1",
            api_key="none",
            messages=[{"role": "user", "content": PROMPT}],
            max_retries=0,
        )
