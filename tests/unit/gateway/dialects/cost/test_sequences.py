"""A request counts as its sequences: prompts, times the answers to each."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import msgspec
import pytest

from gateway.dialects.cost.sequences import prompts_in, sequences_of
from gateway.dialects.request_body import decode_body
from gateway.errors import InvalidRequest
from tests.fakes.fake_engine import Answer
from tests.support.stack import eventually, stack

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    ("prompt", "prompts"),
    [
        ('one, "two", [three]', 1),
        ([], 1),
        (["a"], 1),
        (["a", "b", "c"], 3),
        (['a "quoted\\", word', "\\\\", "b\\", '"'], 4),
        (["", ""], 2),
        ([1, 2, 3], 1),
        ([[1, 2], [3], [4]], 3),
        ([[]], 1),
        ([[{"role": "user", "content": "[a] ]]"}], [{"role": "user", "content": "b"}]], 2),
        ([None, "a"], 1),
    ],
)
def test_prompts_are_counted_by_their_bytes(prompt: object, prompts: int) -> None:
    for indent in (None, 2):
        assert prompts_in(msgspec.Raw(json.dumps(prompt, indent=indent).encode())) == prompts


def test_white_space_hides_no_prompts() -> None:
    assert prompts_in(msgspec.Raw(b"[" + b" " * 5000 + b'"a",' * 3 + b'"b"]')) == 4
    fields = decode_body(b'{"prompt":' + b" " * 100 + b'["a", "b"] , "input" :\n "a" }')
    assert (prompts_in(fields["prompt"]), prompts_in(fields["input"])) == (2, 1)


def test_answers_are_counted_for_each_prompt_and_a_default_of_the_task_counts() -> None:
    fields = {"prompt": msgspec.Raw(b'["a", "b"]'), "n": msgspec.Raw(b"3")}
    assert sequences_of(fields, "prompt", {}, 6) == 6
    assert sequences_of({"prompt": fields["prompt"]}, "prompt", {"n": msgspec.Raw(b"4")}, 8) == 8
    assert sequences_of({}, "", {}, 1) == 1
    with pytest.raises(InvalidRequest, match=r"2 prompts with 3 answers each.*may have 5 .*max_sequences"):
        sequences_of(fields, "prompt", {}, 5)


async def test_a_list_of_millions_of_prompts_is_refused_before_the_engine(tmp_path: Path) -> None:
    body = b'{"model": "naming", "n": 16, "prompt": [' + b",".join([b'"a"'] * 2_400_000) + b"]}"
    async with stack(tmp_path) as running:
        refused = await running.client.post(
            "/v1/completions", content=body, headers={"content-type": "application/json"}
        )
        assert refused.status_code == 400
        error = refused.json()["error"]
        assert (error["param"], error["code"]) == ("prompt", "too_many_sequences")
        assert "2400000 prompts with 16 answers each" in error["message"]
        assert "/v1/completions" not in [each.path for each in running.engine.received]
        several = await running.client.post(
            "/v1/completions", json={"model": "naming", "prompt": ["a"] * 500, "max_tokens": 1}
        )
        assert several.status_code == 200


async def test_a_list_of_prompts_takes_its_places_and_runs_alone_where_it_needs_all(tmp_path: Path) -> None:
    hold = asyncio.Event()
    async with stack(
        tmp_path, max_in_flight=4, max_in_flight_per_task=4, max_waiting=0, max_waiting_per_task=0
    ) as running:
        running.engine.answers["base"] = Answer(hold_head=hold)
        asked = {"model": "base", "prompt": ["a", "b"], "n": 2, "max_tokens": 1}
        first = asyncio.ensure_future(running.client.post("/v1/completions", json=asked))
        await eventually(lambda: running.gateway.admission.in_flight == 4)
        full = await running.client.post("/v1/completions", json={**asked, "prompt": "a", "n": 1})
        assert full.status_code == 429
        hold.set()
        assert (await first).status_code == 200
        assert running.gateway.admission.in_flight == 0
        alone = await running.client.post("/v1/completions", json={**asked, "prompt": ["a"] * 50})
        assert alone.status_code == 200
        assert running.gateway.admission.in_flight == 0
