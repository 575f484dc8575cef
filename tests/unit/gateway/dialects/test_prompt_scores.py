"""Scoring a prompt ends an engine that is not known to bear it, so such an engine is not asked to."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest

from gateway.config.snapshot import EngineStatus, Snapshot, decode_snapshot
from gateway.dialects.prompt_scores import check_scoring
from gateway.errors import InvalidRequest
from tests.support.stack import Stack, stack, write_report

CHAT = {"messages": [{"role": "user", "content": "cat"}]}
TEXT = {"prompt": "cat"}
SCORED = [
    ({**CHAT, "prompt_logprobs": 1}, "prompt_logprobs"),
    ({**TEXT, "prompt_logprobs": 0}, "prompt_logprobs"),
    ({**TEXT, "echo": True, "logprobs": 0}, "echo"),
    ({**TEXT, "echo": True, "logprobs": True}, "echo"),
    ({**TEXT, "echo": 1, "logprobs": 1}, "echo"),
    ({**CHAT, "echo": True, "logprobs": True, "top_logprobs": 0}, "echo"),
    ({**CHAT, "echo": True}, "echo"),
]
PLAIN = [
    {**CHAT, "logprobs": True, "top_logprobs": 2},
    {**TEXT, "logprobs": 2},
    {**TEXT, "echo": True},
    {**TEXT, "echo": True, "logprobs": None},
    {**TEXT, "echo": False, "logprobs": 1, "prompt_logprobs": None},
]


def raw(fields: object) -> dict[str, msgspec.Raw]:
    return msgspec.json.decode(json.dumps(fields), type=dict[str, msgspec.Raw])


@pytest.mark.parametrize(("fields", "name"), SCORED, ids=str)
def test_what_has_the_prompt_scored_is_named(fields: object, name: str) -> None:
    with pytest.raises(InvalidRequest, match=name) as raised:
        check_scoring(raw(fields), {})
    assert (raised.value.param, raised.value.code) == (name, "unsupported_parameter")


@pytest.mark.parametrize("fields", PLAIN, ids=str)
def test_log_probabilities_of_the_answer_are_no_matter(fields: object) -> None:
    check_scoring(raw(fields), {})


def test_a_tasks_own_defaults_count() -> None:
    with pytest.raises(InvalidRequest):
        check_scoring(raw(TEXT), raw({"prompt_logprobs": 1}))
    check_scoring(raw(TEXT), raw({"logprobs": 1}))


def test_every_engine_must_bear_it_and_an_older_control_plane_says_of_none() -> None:
    sound, other = EngineStatus("a", prompt_logprobs=True), EngineStatus("b")
    assert Snapshot(engines=[sound]).prompt_logprobs
    assert not Snapshot(engines=[sound, other]).prompt_logprobs
    assert not decode_snapshot(b'{"version":1,"engines":[{"name":"engine-0"}]}').prompt_logprobs


async def scored(s: Stack, **fields: object) -> int:
    answer = await s.client.post("/v1/completions", json={"model": "base", "prompt": "cat", **fields})
    return answer.status_code


@pytest.mark.anyio
@pytest.mark.parametrize("express", [True, False])
async def test_gateway_asks_only_an_engine_that_bears_it(tmp_path: Path, express: bool) -> None:
    async with stack(tmp_path, express=express) as s:
        assert await scored(s, prompt_logprobs=1) == 200
        assert await scored(s, echo=True, logprobs=1) == 200
        asked = len(s.engine.completions)
        version = s.gateway.replicas.snapshot.version
        write_report(
            s.gateway.replicas.config, url=s.engine.url, state="ready", started_at=1.0, prompt_logprobs=False
        )
        s.gateway.replicas.apply(decode_snapshot((tmp_path / "engine.json").read_bytes()), heard=False)
        assert s.gateway.replicas.snapshot.version == version + 1
        assert await scored(s, prompt_logprobs=1) == 400
        assert await scored(s, echo=True, logprobs=1) == 400
        assert len(s.engine.completions) == asked
        assert await scored(s, logprobs=1) == 200
