"""Azure's paths, by the SDK's own client for them and by hand."""

from __future__ import annotations

from pathlib import Path

import pytest
from openai import AsyncAzureOpenAI, AsyncOpenAI, NotFoundError

from tests.support.stack import key_of, stack

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("both_ways")]
KEY = "sk-azure"
KEYS = {"a": key_of(KEY, tasks=["naming", "concept-naming"])}
NAMING = "naming@bbbbbbbbbbbb"
VERSION = "2024-10-21"


@pytest.mark.parametrize("bound", [True, False])
async def test_azures_client_asks_a_task_as_its_deployment(tmp_path: Path, bound: bool) -> None:
    """A client that is bound to a deployment names it in each path, whatever the model."""
    async with stack(tmp_path, keys=KEYS) as s:
        url = f"http://127.0.0.1:{s.port}"
        model = "gpt-4o" if bound else "naming"
        async with AsyncAzureOpenAI(
            azure_endpoint=url,
            api_key=KEY,
            api_version=VERSION,
            azure_deployment="naming" if bound else None,
            max_retries=0,
        ) as client:
            chat = await client.chat.completions.create(
                model=model, messages=[{"role": "user", "content": "cat"}]
            )
            assert chat.model == NAMING
            text = await client.completions.create(model=model, prompt="cat")
            assert text.model == NAMING
            async with await client.chat.completions.create(
                model=model, messages=[{"role": "user", "content": "cat"}], stream=True
            ) as events:
                assert {event.model async for event in events} == {NAMING}
            response = await client.responses.create(model="naming", input="cat")
            assert response.model == NAMING
            if not bound:
                assert [one.id async for one in client.models.list()] == ["naming", "concept-naming"]
        assert [sent.json["model"] for sent in s.engine.completions] == [NAMING] * len(s.engine.completions)


async def test_openais_client_on_azures_newer_base(tmp_path: Path) -> None:
    async with stack(tmp_path, keys=KEYS) as s:
        base = f"http://127.0.0.1:{s.port}/openai/v1/"
        async with AsyncOpenAI(base_url=base, api_key=KEY, max_retries=0) as client:
            chat = await client.chat.completions.create(
                model="naming", messages=[{"role": "user", "content": "cat"}]
            )
            assert chat.model == NAMING
            assert (await client.models.retrieve("naming")).id == "naming"
            assert len((await client.models.list()).data) == 2


async def test_unknown_deployment_is_404_and_names_those_there_are(tmp_path: Path) -> None:
    async with (
        stack(tmp_path, keys=KEYS) as s,
        AsyncAzureOpenAI(
            azure_endpoint=f"http://127.0.0.1:{s.port}", api_key=KEY, api_version=VERSION, max_retries=0
        ) as client,
    ):
        with pytest.raises(NotFoundError, match="Valid models: concept-naming, naming"):
            await client.chat.completions.create(model="gpt-4o", messages=[])


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/openai/deployments/naming/chat/completions?api-version=x", 200),
        ("/openai/deployments/naming%40bbbbbbbbbbbb/chat/completions", 200),
        ("/openai/deployments/base/chat/completions", 403),
        ("/openai/deployments/naming/embeddings", 400),
        ("/openai/deployments/naming/load_lora_adapter", 404),
        ("/openai/deployments/naming/x/chat/completions", 404),
        ("/openai/deployments/%2e%2e%2fnaming/chat/completions", 404),
        ("/openai/deployments//chat/completions", 404),
        ("/openai/chat/completions", 404),
        ("/openai/v1/messages", 404),
    ],
)
async def test_list_of_routes_is_exact(tmp_path: Path, path: str, status: int) -> None:
    async with stack(tmp_path, keys=KEYS) as s:
        body = {"messages": [{"role": "user", "content": "cat"}], "input": "cat"}
        if path.endswith("embeddings"):
            del body["messages"]
        elif "chat" in path:
            del body["input"]
        answer = await s.client.post(path, json=body, headers={"api-key": KEY})
        assert answer.status_code == status, answer.text
        assert bool(s.engine.completions) == (status in (200, 400))  # the engine says that it embeds nothing
