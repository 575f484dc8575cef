"""`/v1/models`: what each model takes."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

import pytest

from gateway.dialects.registry import DIALECTS
from tests.support.stack import eventually, stack
from tests.unit.gateway.dialects.test_request_body import NAMING

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("both_ways")]


async def test_models_say_what_they_take(tmp_path: Path) -> None:
    async with stack(tmp_path) as s:
        await eventually(lambda: s.gateway.replicas.context_tokens() == 512)
        listed = {one["id"]: one for one in (await s.client.get("/v1/models")).json()["data"]}
        naming, pipeline = listed["naming"], listed["concept-naming"]
        assert (naming["root"], naming["parent"], naming["max_model_len"]) == (NAMING, "base", 512)
        every = [one.path.decode() for one in DIALECTS if one.name != "embeddings"]
        assert naming["endpoints"] == every
        assert pipeline["endpoints"] == [
            "/v1/chat/completions",
            "/v1/completions",
            "/v1/responses",
            "/v1/messages",
        ]
        assert naming["capabilities"] == {
            "streaming": True,
            "structured_output": True,
            "tools": False,
            "reasoning": False,
            "logprobs": True,
            "embeddings": False,
        }
        assert not pipeline["capabilities"]["structured_output"]
        for path in every:  # what is listed is there
            assert (await s.client.get(path)).status_code == 405


async def test_a_base_named_as_on_the_hub_is_found_by_its_encoded_name(tmp_path: Path) -> None:
    """SDKs encode the slash; the server leaves it encoded in a path."""
    name = "Qwen/Qwen2.5-14B-Instruct"
    async with stack(tmp_path, base=name) as s:
        for path in (quote(name, safe=""), name.replace("/", "%2f"), name):
            answer = await s.client.get(f"/v1/models/{path}")
            assert (answer.status_code, answer.json()["id"]) == (200, name)
        body = {"messages": [{"role": "user", "content": "cat"}]}
        path = f"/openai/deployments/{quote(name, safe='')}/chat/completions"
        assert (await s.client.post(path, json=body)).status_code == 200
        assert s.engine.completions[-1].json["model"] == name
