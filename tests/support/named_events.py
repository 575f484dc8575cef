"""Streams whose events have names, and a pipeline's stages that answer."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Coroutine, Iterable
from typing import Any

import httpx

from tests.fakes import fake_apis
from tests.fakes.fake_engine import Answer, Document
from tests.support.controlled import Controlled, beats
from tests.support.stack import TASKS, Stack, eventually

CONCEPTS = json.dumps(
    {"concepts": [{"definition": "one", "members": ["a"]}, {"definition": "two", "members": ["b"]}]}
)


def events(text: str) -> list[tuple[str, Any]]:
    """Each event's name and data; comments are left out."""
    found: list[tuple[str, Any]] = []
    for block in text.split("\n\n"):
        lines = dict(line.split(": ", 1) for line in block.split("\n") if line and not line.startswith(":"))
        if lines:
            found.append((lines["event"], json.loads(lines["data"])))
    return found


def named(asked: Document) -> Answer:
    messages = asked["messages"]
    assert isinstance(messages, list)
    return Answer([json.dumps(f"name of {messages[-1]['content']}")])


def pipeline_answers(s: Stack) -> None:
    """`concept-naming` finds two concepts."""
    s.engine.answers[TASKS["concept"]] = Answer([CONCEPTS[i : i + 7] for i in range(0, len(CONCEPTS), 7)])
    s.engine.answers[TASKS["naming"]] = named


def counted(s: Stack, name: str, model: str = "naming", **labels: str) -> float:
    """A counter of a task's own adapter, of clients."""
    adapter = TASKS.get(model, "")
    given = {"adapter": adapter, "origin": "client", "task": model, **labels}
    key = (name, *(f"{label}={value}" for label, value in sorted(given.items())))
    return s.samples().get(key, 0.0)


def sent(s: Stack, keys: Iterable[str]) -> Document:
    """Of the first request that the engine had, these fields."""
    body = s.engine.completions[0].json
    return {key: body.get(key) for key in keys}


async def check_untouched_stream(s: Stack, answer: httpx.Response) -> None:
    """It is the engine's own, byte for byte, and its usage is counted."""
    asked = s.engine.completions[0]
    made = fake_apis.stream(asked.path, asked.json, ["Par", "is"])
    assert answer.content == made.before + made.token("Par") + made.token("is") + made.after
    await s.at_rest()
    assert counted(s, "prompt_tokens_total") == 7
    assert counted(s, "completion_tokens_total") == 2


async def answer_after_a_wait(c: Controlled, asking: Coroutine[Any, Any, httpx.Response]) -> httpx.Response:
    """What comes of a stream from an engine that starts once the stream has had a heartbeat."""
    with beats() as sent:
        asked = asyncio.create_task(asking)
        await eventually(lambda: bool(sent))
    await c.state("ready")
    return await asked


def concept_names(text: str) -> list[str]:
    """The names in what the pipeline answers."""
    return [one["name"] for one in json.loads(text)["concepts"]]
