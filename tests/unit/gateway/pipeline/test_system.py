"""A client's system message to a pipeline."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from pydantic import JsonValue

from gateway.config.document import JsonObject
from gateway.dialects.dialect import Dialect
from gateway.dialects.messages.dialect import MESSAGES
from gateway.dialects.responses.dialect import RESPONSES
from gateway.errors import InvalidRequest
from gateway.pipeline.run import run
from gateway.pipeline.system import places, prepended
from tests.support.named_events import pipeline_answers
from tests.support.pipeline_script import Script, chat, demo, pipeline, prompt_of
from tests.support.stack import stack

WHOLE = '{"concepts":[{"members":["a"],"definition":"d"}]}'


SYSTEM: list[JsonValue] = [
    {"role": "system", "content": "Be nice."},
    {"role": "developer", "content": "In French."},
]


def with_system(text: str) -> JsonObject:
    return {**chat(text), "messages": [*SYSTEM, {"role": "user", "content": text}]}


def systems(script: Script) -> list[str]:
    bodies: list[Any] = [body for _, body in script.calls]
    firsts = [body["messages"][0] for body in bodies]
    return [first["content"] if first["role"] == "system" else "" for first in firsts]


def test_a_system_message_is_left_out_unless_the_pipeline_says_otherwise() -> None:
    script = Script({"concept": [WHOLE]}, lambda body: "n")
    asyncio.run(run(demo(), with_system("a"), script))
    assert systems(script) == ["", ""]
    assert prompt_of(script.calls[0][1]) == "a"
    assert [index for index, _ in places(with_system("a"))] == [0, 1]


def test_prepended_it_goes_before_the_first_stages_own() -> None:
    script = Script({"concept": [WHOLE]}, lambda body: "n")
    asyncio.run(run(demo("system: prepend"), with_system("a"), script))
    assert systems(script) == ["Be nice.\n\nIn French.", ""]
    text = """
base: {model: b}
tasks: {t: {adapter: a, system: The task's.}}
pipelines:
  p: {system: prepend, stages: [{id: s, task: t, prompt: x%s}]}
"""
    for own, said in (("", "The task's."), (", system: The stage's.", "The stage's.")):
        script = Script({"t": ["y"]}, lambda body: "y")
        asyncio.run(run(pipeline(text % own), with_system("a"), script))
        assert systems(script) == [f"Be nice.\n\nIn French.\n\n{said}"]


@pytest.mark.parametrize(
    ("dialect", "body", "place"),
    [
        (MESSAGES, {"system": "x", "messages": []}, "system"),
        (MESSAGES, {"messages": [{"role": "system", "content": "x"}]}, "messages[0]"),
        (RESPONSES, {"instructions": "x", "input": "a"}, "instructions"),
        (
            RESPONSES,
            {"input": [{"role": "user", "content": "a"}, {"role": "developer", "content": "x"}]},
            "input[1]",
        ),
    ],
)
def test_refused_it_is_named_by_the_clients_own_count(dialect: Dialect, body: Any, place: str) -> None:
    asked_for = dialect.as_chat(body)
    with pytest.raises(InvalidRequest) as caught:
        prepended(asked_for.document, "p", "refuse")
    told = asked_for.told(caught.value)
    assert told.param == place
    assert "pipelines.p.system" in told.message


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("path", "fields", "name"),
    [
        ("/v1/chat/completions", {"messages": [SYSTEM[0], {"role": "user", "content": "a"}]}, "messages[0]"),
        ("/v1/responses", {"input": "a", "instructions": "Be nice."}, "instructions"),
        ("/v1/responses", {"input": [SYSTEM[1], {"role": "user", "content": "a"}]}, "input[0]"),
        (
            "/v1/messages",
            {"messages": [{"role": "user", "content": "a"}], "system": "Be nice.", "max_tokens": 9},
            "system",
        ),
    ],
)
async def test_a_system_message_that_is_left_out_is_named(
    tmp_path: Path, path: str, fields: dict[str, Any], name: str
) -> None:
    async with stack(tmp_path) as s:
        pipeline_answers(s)
        asked_for = {"model": "concept-naming", **fields}
        answer = await s.client.post(path, json=asked_for)
        assert answer.status_code == 200, answer.text
        assert answer.headers["x-gateway-ignored"] == name
        assert not any("Be nice" in one.body.decode() for one in s.engine.completions)
