"""Streams whose events have names, and a pipeline's stages that answer."""

from __future__ import annotations

import json
from typing import Any

from tests.fake_engine import Answer, Document
from tests.unit.stack import TASKS, Stack

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
