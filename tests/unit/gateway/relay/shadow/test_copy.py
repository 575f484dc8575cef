"""One copy: the request of the candidate, in whichever API."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fakes.fake_engine import Answer
from tests.unit.gateway.relay.shadow.test_copies import (
    CANDIDATE,
    OWN,
    adopted,
    records,
    shadowing,
    to,
    until_counted,
)

pytestmark = pytest.mark.anyio


@pytest.mark.usefixtures("both_ways")
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize(("tokens", "outcome"), [(["Par", "is"], "same"), (["Ly", "on"], "different")])
@pytest.mark.parametrize(
    ("path", "fields"),
    [
        ("/v1/responses", {"input": "cat"}),
        ("/v1/messages", {"messages": [{"role": "user", "content": "cat"}], "max_tokens": 9}),
    ],
    ids=["responses", "messages"],
)
async def test_copy_in_another_api_is_compared(
    tmp_path: Path, path: str, fields: dict[str, object], stream: bool, tokens: list[str], outcome: str
) -> None:
    async with shadowing(tmp_path) as made:
        await adopted(made)
        made.engine.answers[CANDIDATE] = Answer(tokens)
        answer = await made.client.post(path, json={"model": "naming", **fields, "stream": stream})
        assert answer.headers["x-gateway-adapter"] == OWN
        await until_counted(made, outcome)
        (record,) = await records(tmp_path)
        assert (record.outcome, record.chars, record.tokens) == (outcome, [5, len("".join(tokens))], [2, 2])
        assert {one.path for one in made.engine.completions} == {path}
        (own,), (copy,) = to(made, OWN), to(made, CANDIDATE)
        assert copy == {key: value for key, value in {**own, "model": CANDIDATE}.items() if key != "stream"}
        await made.at_rest()


async def test_what_has_no_text_is_not_copied(tmp_path: Path) -> None:
    async with shadowing(tmp_path) as made:
        await adopted(made)
        assert (await made.client.post("/tokenize", json={"model": "naming", "prompt": "x"})).is_success
        await made.at_rest()
        assert len(made.engine.completions) == 1


async def test_copy_is_the_request_of_the_candidate_in_one_piece(tmp_path: Path) -> None:
    async with shadowing(tmp_path) as made:
        await adopted(made)
        await made.chat(stream=True, stream_options={"include_usage": True}, n=1, seed=7, logprobs=True)
        await until_counted(made, "same")
        (own,), (copy,) = to(made, OWN), to(made, CANDIDATE)
        assert copy == {
            key: value
            for key, value in {**own, "model": CANDIDATE}.items()
            if key not in ("stream", "stream_options", "n", "logprobs")
        }
        assert copy["max_tokens"] == 24  # the task's contract


async def test_structured_answers_differ_by_field(tmp_path: Path) -> None:
    async with shadowing(tmp_path) as made:
        await adopted(made)
        made.engine.answers[OWN] = Answer(['{"concepts": [{"name": "fruit"}]}'])
        made.engine.answers[CANDIDATE] = Answer(['{"concepts": [{"name": "food"}]}'])
        await made.chat(temperature=0.7)
        (record,) = await records(tmp_path)
        assert (record.structured, record.paths, record.sampled) == (True, ["concepts[0].name"], True)


async def test_large_requests_and_streamed_tools_are_not_copied(tmp_path: Path) -> None:
    async with shadowing(tmp_path) as made:
        await adopted(made)
        await made.chat(messages=[{"role": "user", "content": "x" * 300_000}])
        await until_counted(made, "dropped")
        await made.chat(stream=True, tools=[{"type": "function", "function": {"name": "f"}}])
        assert not to(made, CANDIDATE)
