"""`/tokenize`, `/detokenize`, `/v1/embeddings`, and what `/v1/models` says that each model takes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.fakes.fake_engine import recorded
from tests.support.named_events import counted
from tests.support.stack import TASKS, stack

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("both_ways")]


NAMING = TASKS["naming"]


USER = [{"role": "user", "content": "cat"}]


async def test_messages_are_tokenized_with_the_tasks_system_prompt(tmp_path: Path) -> None:
    real: Any = recorded("tokenize")["body"]
    async with stack(tmp_path) as s:
        answer = await s.client.post("/tokenize", json={"model": "naming", "messages": USER})
        assert answer.json() == real
        assert answer.headers["x-gateway-adapter"] == NAMING
        system = {"role": "system", "content": "Name the concept."}
        assert s.engine.completions[0].json == {"model": NAMING, "messages": [system, *USER]}
        await s.at_rest()
        assert counted(s, "requests_total", status="200") == 1
        assert counted(s, "prompt_tokens_total") == 0


async def test_a_prompt_and_messages_are_not_tokenized_together(tmp_path: Path) -> None:
    async with stack(tmp_path) as s:
        answer = await s.client.post("/tokenize", json={"prompt": "x", "messages": USER})
        assert (answer.status_code, answer.json()["error"]["param"]) == (400, "messages")
        assert (await s.client.post("/tokenize", json={"prompt": None, "messages": USER})).status_code == 200
        assert len(s.engine.completions) == 1


async def test_the_base_is_meant_where_no_model_is_named(tmp_path: Path) -> None:
    async with stack(tmp_path) as s:
        assert (await s.client.post("/tokenize", json={"prompt": "x"})).status_code == 200
        real: Any = recorded("detokenize")["body"]
        assert (await s.client.post("/detokenize", json={"tokens": [1], "model": None})).json() == real
        assert [one.json["model"] for one in s.engine.completions] == ["base", "base"]
        assert [one.path for one in s.engine.completions] == ["/tokenize", "/detokenize"]


@pytest.mark.parametrize("path", ["/tokenize", "/detokenize", "/v1/embeddings"])
async def test_a_pipeline_has_no_prompt_of_its_own(tmp_path: Path, path: str) -> None:
    async with stack(tmp_path) as s:
        answer = await s.client.post(path, json={"model": "concept-naming"})
        error = answer.json()["error"]
        assert (answer.status_code, error["param"], error["code"]) == (400, "model", "unsupported_parameter")
        assert not s.engine.completions


async def test_embeddings_of_a_generative_base_are_a_400_with_the_reason(tmp_path: Path) -> None:
    async with stack(tmp_path) as s:
        answer = await s.client.post("/v1/embeddings", json={"model": "naming", "input": "x"})
        error = answer.json()["error"]
        assert (answer.status_code, error["code"]) == (400, "unsupported_endpoint")
        assert "generative" in error["message"]
        await s.at_rest()
        assert counted(s, "requests_total", status="400") == 1


@pytest.mark.parametrize("path", ["/tokenize", "/detokenize", "/v1/embeddings", "/v1/responses"])
async def test_each_route_needs_a_key_where_there_are_keys(tmp_path: Path, path: str) -> None:
    async with stack(tmp_path, keys={"a": {"sha256": "0" * 64}}) as s:
        answer = await s.client.post(path, json={"model": "base"}, headers={"x-api-key": "a"})
        assert (answer.status_code, answer.json()["error"]["code"]) == (401, "invalid_api_key")
