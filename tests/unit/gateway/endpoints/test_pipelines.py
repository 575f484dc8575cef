"""What a pipeline's request may hold before it is parsed: bounded in bytes, of one and of all together."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from tests.fakes.fake_engine import Answer
from tests.support.stack import TASKS, stack
from tests.support.waiting import eventually

pytestmark = pytest.mark.anyio
PIPELINE = "concept-naming"


def asked(text: str) -> dict[str, object]:
    return {"model": PIPELINE, "messages": [{"role": "user", "content": text}]}


@pytest.mark.parametrize("text", ["a\n" * 3_300_000, '{"x": 1, "y": [' + "[]," * 1_000_000 + "[]]}"])
async def test_a_request_beyond_its_bound_is_refused_before_it_is_read(tmp_path: Path, text: str) -> None:
    async with stack(tmp_path) as running:
        refused = await running.chat(asked(text))
        assert refused.status_code == 413
        error = refused.json()["error"]
        assert f"pipelines.{PIPELINE}.max_input_bytes" in error["message"]
        assert "at most 1048576" in error["message"]
        assert not running.engine.completions


@pytest.mark.parametrize("given", ["text", "messages"])
async def test_json_of_very_many_members_is_refused_before_it_is_parsed(tmp_path: Path, given: str) -> None:
    """A text that only looks like it, and brackets and commas within a text, are none."""
    lists = "[" + "[]," * 60_000 + "[]]"
    async with stack(tmp_path) as running:
        body = asked(lists) if given == "text" else {**asked(""), "messages": json.loads(lists)}
        refused = await running.chat(body)
        assert (refused.status_code, refused.json()["error"]["code"]) == (400, "too_many_members")
        assert f"pipelines.{PIPELINE}.max_input_members" in refused.json()["error"]["message"]
        for sound in (lists[:-1], json.dumps({"code": lists}), "see: " + lists):
            assert (await running.chat(asked(sound))).status_code != 400


async def test_inputs_of_all_pipelines_are_bounded_together_and_given_back(tmp_path: Path) -> None:
    """One that holds more than all may runs alone; what a client that leaves has held is free again."""
    hold = asyncio.Event()
    async with stack(tmp_path, max_pipeline_bytes=1000) as running:
        for model in ("base", TASKS["concept"]):
            running.engine.answers[model] = Answer(hold_head=hold)
        _, writer = await running.open(model=PIPELINE, messages=[{"role": "user", "content": "a, b, c"}])
        await eventually(lambda: running.engine.active == 1)
        refused = await running.chat(asked("d, e, f"))
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "overloaded")
        assert refused.headers["retry-after"]
        assert "gateway.max_pipeline_bytes" in refused.json()["error"]["message"]
        other = asyncio.ensure_future(running.chat(model="base"))
        await eventually(lambda: running.engine.active == 2)
        writer.transport.abort()
        await eventually(lambda: running.engine.active == 1)
        hold.set()
        assert (await other).status_code == 200
        again = await running.chat(asked("d, e, f"))
        assert again.status_code != 503
        await running.at_rest()
