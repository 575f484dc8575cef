"""The mix for the fake engine, which echoes what it is asked and fails on request."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from tests.faults.fault_engine import RAW
from tests.soak.http_client import Answer
from tests.soak.kinds import Kind, events
from tests.support.stack import TASKS

CHAT = "/v1/chat/completions"


def chat(wish: str, model: str = "naming", **fields: Any) -> Mapping[str, Any]:
    return {"model": model, "messages": [{"role": "user", "content": wish}], **fields}


def is_echo(answer: Answer, words: str) -> bool:
    document = json.loads(answer.body)
    return bool(
        document["choices"][0]["message"]["content"].split() == words.split()
        and document["model"] == TASKS["naming"]
    )


def is_text(answer: Answer, words: str) -> bool:
    document = json.loads(answer.body)
    return bool(
        document["choices"][0]["text"].split() == words.split() and document["model"] == TASKS["concept"]
    )


def is_stream(answer: Answer, words: str) -> bool:
    found = events(answer)
    text = "".join(event["choices"][0]["delta"]["content"] for event in found)
    return text.split() == words.split() and {event["model"] for event in found} == {TASKS["naming"]}


def is_message(answer: Answer, words: str) -> bool:
    return bool(words.split() == json.loads(answer.body)["content"][0]["text"].split())


def breaks_off(answer: Answer, words: str) -> bool:
    """A stream whose last event is an error."""
    last = answer.body.strip().rpartition(b"data: ")[2]
    return "error" in json.loads(last)


def never(answer: Answer, words: str) -> bool:
    return False


GOOD = (
    Kind("chat", 40, CHAT, lambda words: chat(f"echo {words}"), is_echo),
    Kind("stream", 25, CHAT, lambda words: chat(f"echo {words}", stream=True), is_stream),
    Kind("slow stream", 3, CHAT, lambda words: chat(f"slow {words}", stream=True), is_stream),
    Kind(
        "text", 12, "/v1/completions", lambda words: {"model": "concept", "prompt": f"echo {words}"}, is_text
    ),
    Kind(
        "message",
        8,
        "/v1/messages",
        lambda words: {**chat(f"echo {words}"), "max_tokens": 9},
        is_message,
    ),
)
FAULTS = (
    *(
        Kind(f"engine: {fault}", 0.5, CHAT, lambda _, fault=fault: chat(fault), never, (502,))  # type: ignore[misc]
        for fault in RAW
        if fault != "cut"
    ),
    Kind("engine: cut", 1, CHAT, lambda _: chat("cut", stream=True), breaks_off, timed=False),
    Kind("engine: half-open", 0.5, CHAT, lambda _: chat("half-open", stream=True), breaks_off, timed=False),
    Kind("engine: silent", 0.1, CHAT, lambda _: chat("silent"), never, (504,)),
    Kind(
        "client leaves",
        4,
        CHAT,
        lambda words: chat(f"slow {words}", stream=True),
        is_stream,
        leave_after=b"data: ",
    ),
    Kind("no such model", 1, CHAT, lambda words: chat(words, "nobody"), never, (404,)),
    Kind("no JSON", 1, CHAT, lambda words: {"model": words, "messages": 1}, never, (400, 404)),
)
KINDS = (*GOOD, *FAULTS)
