"""What tests rely on when they tell the fake engine how to answer."""

from __future__ import annotations

import asyncio

import httpx
import pytest

from tests.fakes.fake_engine import Answer, FakeEngine
from tests.support.waiting import CLIENT_S, turns

pytestmark = pytest.mark.anyio


async def test_a_request_gets_the_answer_that_was_told_of_when_it_came() -> None:
    engine = FakeEngine()
    await engine.start()
    try:
        engine.answers["base"] = Answer(["first"])
        async with httpx.AsyncClient(base_url=engine.url, timeout=CLIENT_S) as client, asyncio.timeout(20):
            chat = {"model": "base", "messages": []}
            asking = asyncio.create_task(client.post("/v1/chat/completions", json=chat))
            while not engine.completions:
                await turns(1)
            engine.answers["base"] = Answer(["second"])  # in the very turn in which it came
            assert (await asking).json()["choices"][0]["message"]["content"] == "first"
            again = await client.post("/v1/chat/completions", json=chat)
            assert again.json()["choices"][0]["message"]["content"] == "second"
    finally:
        await engine.stop()
