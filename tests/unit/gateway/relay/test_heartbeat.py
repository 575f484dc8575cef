"""A sign of life in a stream that waits: comments, after one head that says what it is."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.support.controlled import beats, controlled
from tests.support.stack import eventually

pytestmark = pytest.mark.anyio


async def test_each_beat_is_a_comment_under_one_head(tmp_path: Path) -> None:
    async with controlled(tmp_path, "stopped", lazy=True, heartbeat_s=0.01) as c:
        with beats() as sent:
            asking = asyncio.create_task(c.stack.chat(stream=True))
            await c.state("starting", stage="loading weights", lazy=True)
            await eventually(lambda: len(sent) >= 3)
            await c.state("ready", lazy=True)
            answer = await asking
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert (answer.headers["x-gateway-task"], answer.headers["x-gateway-cold"]) == ("naming", "true")
    blocks = answer.text.split("\n\n")
    comments = [block for block in blocks if block.startswith(":")]
    assert len(comments) == len(sent)
    assert any("engine starting (loading weights)" in one for one in comments)
    assert not any(block.startswith(":") for block in blocks[len(comments) :])  # none after the answer began
    assert answer.text.endswith("data: [DONE]\n\n")
