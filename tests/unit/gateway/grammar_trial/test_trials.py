"""Each grammar is tried once; keys take turns; clients hear a 400 that says why."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest

from gateway.admission.quotas.new_schemas import NewSchemas
from gateway.dialects.cost.grammars import Grammar
from gateway.errors import InvalidRequest, TooManyRequests, Unavailable
from gateway.grammar_trial import trials as module
from gateway.grammar_trial.process import TrialProcess
from gateway.grammar_trial.trials import GrammarTrials
from tests.support.stack import Stack, eventually, stack

pytestmark = pytest.mark.anyio
BOMB, DEAD, FINE = (Grammar("response_format", "regex", text) for text in ("bomb", "dead", "fine"))


class Scripted(TrialProcess):
    """Answers by the text; `gate` holds it back."""

    def __init__(self, ends: Mapping[str, str] | None = None) -> None:
        super().__init__()
        self.ends = {"bomb": "cpu", "dead": "nothing", **(ends or {})}
        self.asked: list[str] = []
        self.gate = asyncio.Event()
        self.gate.set()

    async def ask(self, kind: str, text: str) -> str:
        self.asked.append(text)
        await self.gate.wait()
        end = self.ends.get(text, "fine")
        if end == "gone":
            raise Unavailable("gone")
        return end


async def test_each_is_tried_once() -> None:
    process = Scripted()
    trials = GrammarTrials(NewSchemas(600), process)
    for _ in range(2):
        await trials.try_all("a", [FINE])
        for fault, words in ((BOMB, "costs too much"), (DEAD, "admits no text")):
            with pytest.raises(InvalidRequest, match=words) as refused:
                await trials.try_all("b", [fault])
            assert (refused.value.param, refused.value.code) == ("response_format", "grammar_too_costly")
    assert process.asked == ["fine", "bomb", "dead"]


@pytest.mark.parametrize("end", ["fine", "refused", "", "cpu", "memory", "killed by signal 11", "nothing"])
async def test_only_cost_and_what_admits_no_text_refuse(end: str) -> None:
    trials = GrammarTrials(NewSchemas(600), Scripted({"fine": end}))
    if end in ("fine", "refused", ""):
        await trials.try_all("a", [FINE])
    else:
        with pytest.raises(InvalidRequest):
            await trials.try_all("a", [FINE])


async def test_what_was_not_answered_is_not_remembered() -> None:
    process = Scripted({"fine": "gone"})
    trials = GrammarTrials(NewSchemas(600), process)
    with pytest.raises(Unavailable):
        await trials.try_all("a", [FINE])
    process.ends["fine"] = "fine"
    await trials.try_all("a", [FINE])
    assert process.asked == ["fine", "fine"]


async def test_a_key_that_sends_many_waits_for_itself() -> None:
    process = Scripted()
    process.gate.clear()
    trials = GrammarTrials(NewSchemas(600), process)
    many = [
        asyncio.create_task(trials.try_all("a", [Grammar("p", "regex", f"a{number}")]))
        for number in range(module.MOST_WAITING)
    ]
    await eventually(lambda: len(process.asked) == 1)
    with pytest.raises(TooManyRequests) as refused:
        await trials.try_all("a", [FINE])
    assert refused.value.code == "too_many_schemas"
    other = asyncio.create_task(trials.try_all("b", [Grammar("p", "regex", "b")]))
    await eventually(lambda: trials._waiting["b"] == 1)
    process.gate.set()
    await asyncio.gather(other, *many)
    assert process.asked.index("b") == 1  # it came last
    assert (trials._waiting, trials._turns) == ({}, {})


async def test_two_requests_with_one_grammar_make_one_trial() -> None:
    process = Scripted()
    await asyncio.gather(
        *(
            GrammarTrials.try_all(trials, "a", [FINE])
            for trials in [GrammarTrials(NewSchemas(600), process)] * 3
        )
    )
    assert process.asked == ["fine"]


async def test_the_oldest_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_REMEMBERED", 1)
    process = Scripted()
    trials = GrammarTrials(NewSchemas(600), process)
    for text in ("x", "y", "x"):
        await trials.try_all("a", [Grammar("p", "regex", text)])
    assert process.asked == ["x", "y", "x"]


TASK = {"model": "naming"}
PLAIN = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object"}}}


def scripted(s: Stack) -> Scripted:
    process = s.gateway.trials._process = Scripted()
    return process


async def messages(s: Stack, **fields: Any) -> httpx.Response:
    body = {"model": "naming", "max_tokens": 5, "messages": [{"role": "user", "content": "x"}], **fields}
    return await s.client.post("/v1/messages", json=body)


@pytest.mark.usefixtures("both_ways")
async def test_a_costly_one_never_reaches_the_engine(tmp_path: Path) -> None:
    async with stack(tmp_path) as s:
        process = scripted(s)
        for _ in range(2):
            refused = await s.chat(structured_outputs={"regex": "bomb"}, stream=True)
            error = refused.json()["error"]
            assert (refused.status_code, error["code"]) == (400, "grammar_too_costly")
            assert error["param"] == "structured_outputs.regex"
        for _ in range(2):
            taken = await s.chat(structured_outputs={"regex": "fine"})
            assert taken.status_code == 200
        assert (await s.chat(response_format=PLAIN)).status_code == 200
        assert process.asked == ["bomb", "fine"]
        schema = {"type": "object", "properties": {"a": {"type": "string", "pattern": "x"}}}
        process.ends['{"type":"object","properties":{"a":{"type":"string","pattern":"x"}}}'] = "cpu"
        for answer in (
            await s.chat(
                response_format={"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
            ),
            await messages(s, output_config={"format": {"type": "json_schema", "schema": schema}}),
            await s.client.post(
                "/v1/responses",
                json={
                    "model": "naming",
                    "input": "x",
                    "text": {"format": {"type": "json_schema", "name": "x", "schema": schema}},
                },
            ),
        ):
            assert answer.status_code == 400, answer.text
        assert len(process.asked) == 3
        assert sum(one.method == "POST" for one in s.engine.received) == 3
        await s.at_rest()


async def test_a_pipelines_schema_is_for_no_engine(tmp_path: Path) -> None:
    async with stack(tmp_path) as s:
        process = scripted(s)
        wanted = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"$ref": "#"}}}
        await s.chat(model="concept-naming", response_format=wanted)
        assert process.asked == []


async def test_a_key_that_sends_costly_ones_has_soon_sent_enough(tmp_path: Path) -> None:
    async with stack(tmp_path, max_new_schemas_per_minute=40) as s:
        process = scripted(s)
        process.ends = {f"bomb {number}": "cpu" for number in range(9)}
        answers = [await s.chat(structured_outputs={"regex": f"bomb {number}"}) for number in range(4)]
        assert [one.json()["error"]["code"] for one in answers[:2]] == ["grammar_too_costly"] * 2
        assert [one.json()["error"]["code"] for one in answers[2:]] == ["too_many_schemas"] * 2
        assert len(process.asked) == 2
