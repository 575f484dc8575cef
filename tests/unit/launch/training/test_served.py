"""A service that is not there, or refuses, is a configuration's error that names what to look at."""

from __future__ import annotations

import asyncio
import sys

import httpx
import openai
import pytest

from gateway.errors import ConfigError
from launch.training.served import client_of, faults_named, tokens_within

REQUEST = httpx.Request("POST", "http://127.0.0.1/v1")
MISSING = httpx.Response(404, request=REQUEST)


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (openai.APIConnectionError(request=REQUEST), "--url.*is it served"),
        (openai.NotFoundError("no such model", response=MISSING, body=None), "model naming.*404: no such"),
        (
            openai.NotFoundError("{'a'}", response=MISSING, body={"message": "None. Sorry"}),
            "404: None. Sorry$",
        ),
    ],
)
def test_a_fault_of_the_service_is_named(fault: openai.APIError, said: str) -> None:
    with pytest.raises(ConfigError, match=said), faults_named("http://127.0.0.1/v1", "model naming"):
        raise fault


@pytest.mark.parametrize("url", ["http://127.0.0.1:81", "http://127.0.0.1:81/", "http://127.0.0.1:81/v1"])
def test_an_address_needs_no_v1(url: str) -> None:
    async def asked() -> str:
        async with client_of(url, "evaluate") as client:
            return str(client.base_url)

    assert asyncio.run(asked()) == "http://127.0.0.1:81/v1/"


def test_the_key_is_the_environments_and_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    async def key_used() -> str:
        async with client_of("http://127.0.0.1/v1", "evaluate") as client:
            return client.api_key

    monkeypatch.setenv("LORA_GATEWAY_API_KEY", "mine")
    assert asyncio.run(key_used()) == "mine"
    monkeypatch.setitem(sys.modules, "openai", None)
    with pytest.raises(ConfigError, match=r"evaluate.*pip install 'lora-gateway\[train\]'"):
        asyncio.run(key_used())


def test_no_more_tokens_are_asked_for_than_the_models_context_has() -> None:
    asked: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.path.removeprefix("/v1/"))
        if asked[-1] != "models":
            return httpx.Response(200, json={"id": "1", "choices": []})
        woken = {"woken": 1024} if "chat/completions" in asked else {}
        contexts = {"mine": 2048, "woken": None, "other": None} | woken
        models = [{"id": name, "object": "model", "max_model_len": most} for name, most in contexts.items()]
        return httpx.Response(200, json={"object": "list", "data": models})

    async def room(model: str, tokens: int) -> int:
        http = httpx.AsyncClient(transport=httpx.MockTransport(answer))
        async with openai.AsyncOpenAI(
            base_url="http://127.0.0.1/v1", api_key="none", http_client=http
        ) as client:
            return await tokens_within(client, model, tokens)

    cases = (("mine", 512), ("mine", 1000), ("mine", 3000), ("woken", 3000), ("other", 3000))
    assert [asyncio.run(room(*one)) for one in cases] == [512, 1000, 2048, 1024, 3000]
    waited = ["models", "chat/completions", "models"]
    assert asked == ["models", "models", *waited, *waited]
