"""What was taken without effect is said in a header of every sort of answer, and counted once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest

from gateway.relay.request_record import MOST_NAMED, ignored_header
from tests.support.batches.batch_stack import create, line, timed_stack, until
from tests.support.controlled import controlled
from tests.support.named_events import concept_names, pipeline_answers
from tests.support.stack import TASKS, Stack, eventually, stack
from tests.unit.gateway.relay.fallback.test_fallbacks import MODEL, fallen

pytestmark = pytest.mark.anyio

USER = [{"role": "user", "content": "cat"}]
HEADER = "x-gateway-ignored"
ROUTES: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {"messages": USER},
    "/v1/completions": {"prompt": "cat"},
    "/v1/responses": {"input": "cat"},
    "/v1/messages": {"messages": USER, "max_tokens": 9},
    "/v1/messages/count_tokens": {"messages": USER},
    "/tokenize": {"messages": USER},
}
WISHES = {"keep_alive": "5m", "trace_id": "t", "client_metadata": {"a": "b"}}
PLENTY: dict[str, dict[str, Any]] = {"/v1/messages": {"max_tokens": 500}}
NAMED = "keep_alive,trace_id,client_metadata"


async def ask(s: Stack, path: str, **fields: Any) -> httpx.Response:
    return await s.client.post(path, json={"model": "naming", **ROUTES[path], **fields})


def counts(s: Stack) -> dict[str, float]:
    """Requests by the parameter that was ignored."""
    found = {
        key[1].removeprefix("parameter="): n for key, n in s.samples().items() if key[0] == "ignored_total"
    }
    return {name: number for name, number in found.items() if number}


@pytest.mark.usefixtures("both_ways")
@pytest.mark.parametrize("path", ROUTES)
async def test_every_route_takes_names_and_counts_them(tmp_path: Path, path: str) -> None:
    async with stack(tmp_path) as s:
        answer = await ask(s, path, **WISHES)
        assert answer.status_code == 200, answer.text
        assert answer.headers[HEADER] == NAMED
        assert not WISHES.keys() & s.engine.completions[-1].json.keys()
        assert HEADER not in (await ask(s, path)).headers
        await s.at_rest()
        assert counts(s) == {"keep_alive": 1, "client_metadata": 1, "other": 1}


@pytest.mark.usefixtures("both_ways")
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/messages"])
async def test_a_streams_head_names_them(tmp_path: Path, path: str) -> None:
    async with stack(tmp_path) as s:
        answer = await ask(s, path, stream=True, **WISHES)
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert answer.headers[HEADER] == NAMED
        await s.at_rest()
        assert counts(s) == {"keep_alive": 1, "client_metadata": 1, "other": 1}


@pytest.mark.parametrize("path", ROUTES)
async def test_a_strict_gateway_refuses_them(tmp_path: Path, path: str) -> None:
    async with stack(tmp_path, parameters="strict") as s:
        for key, value in WISHES.items():
            answer = await ask(s, path, **{key: value})
            assert answer.status_code == 400
            assert key in answer.text
            assert HEADER not in answer.headers
        assert (await ask(s, path)).status_code == 200
        assert counts(s) == {}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("path", "fields", "named"),
    [
        (
            "/v1/chat/completions",
            {"verbosity": "low", "reasoning_effort": "low"},
            "verbosity,reasoning_effort",
        ),
        ("/v1/chat/completions", {"session_id": "s", "ignore_eos": False, "min_tokens": 0}, None),
        (
            "/v1/responses",
            {"store": True, "reasoning": {}, "truncation": "auto"},
            "store,truncation,reasoning",
        ),
        (
            "/v1/messages",
            {"thinking": {"type": "adaptive"}, "output_config": {"effort": "high"}},
            "thinking,output_config.effort",
        ),
        ("/v1/messages", {"thinking": {"type": "disabled"}, "tools": []}, None),
    ],
)
async def test_a_pipeline_names_them_and_what_has_no_effect_on_its_stages(
    tmp_path: Path, path: str, fields: dict[str, Any], named: str | None, stream: bool
) -> None:
    async with stack(tmp_path) as s:
        pipeline_answers(s)
        given = {**PLENTY.get(path, {}), **fields}
        answer = await ask(s, path, model="concept-naming", stream=stream, **given)
        assert answer.status_code == 200, answer.text
        assert answer.headers.get(HEADER) == named
        await s.at_rest()
        assert set(counts(s)) == {name.partition(".")[0] for name in (named or "").split(",") if name}


@pytest.mark.parametrize(
    ("path", "fields"),
    [
        ("/v1/messages", {"output_config": {"effort": "low"}}),
        ("/v1/responses", {"reasoning": {"effort": "low"}}),
        ("/v1/chat/completions", {"reasoning_effort": "low"}),
    ],
)
async def test_a_strict_pipeline_refuses_what_its_stages_do_not_hear_of(
    tmp_path: Path, path: str, fields: dict[str, Any]
) -> None:
    async with stack(tmp_path, parameters="strict") as s:
        answer = await ask(s, path, model="concept-naming", **fields)
        assert answer.status_code == 400
        assert next(iter(fields)) in answer.text
        assert not s.engine.completions


@pytest.mark.parametrize("stream", [False, True])
async def test_a_fallbacks_answer_names_them(tmp_path: Path, stream: bool) -> None:
    async with fallen(tmp_path, "failed") as f:
        answer = await f.stack.chat(stream=stream, verbosity="low", **WISHES)
        assert answer.status_code == 200, answer.text
        assert answer.headers["x-gateway-fallback"] == MODEL
        assert answer.headers[HEADER] == f"verbosity,{NAMED}"
        assert counts(f.stack) == {"verbosity": 1, "keep_alive": 1, "client_metadata": 1, "other": 1}


async def test_a_stream_that_waits_for_a_cold_engine_names_them_at_once(tmp_path: Path) -> None:
    async with controlled(tmp_path, heartbeat_s=0.03) as c:
        await c.tell([c.status("starting")])
        asked = {"model": "naming", "stream": True, "messages": USER, "keep_alive": "5m"}
        async with c.stack.client.stream("POST", "/v1/chat/completions", json=asked) as answer:
            assert answer.headers["x-gateway-cold"] == "true"
            assert answer.headers[HEADER] == "keep_alive"
            await c.tell([c.status("ready")])
            await answer.aread()
        await c.stack.at_rest()
        assert counts(c.stack) == {"keep_alive": 1}  # though the request was looked at twice


@pytest.mark.usefixtures("both_ways")
async def test_a_length_beyond_the_context_is_lowered_for_the_engine(tmp_path: Path) -> None:
    async with stack(tmp_path) as s:
        await eventually(lambda: s.gateway.replicas.context_tokens() == 512)
        answer = await ask(s, "/v1/messages", max_tokens=32_000)
        assert answer.headers[HEADER] == "max_tokens"
        assert s.engine.completions[-1].json["max_tokens"] == 512
        assert counts(s) == {"max_tokens": 1}


@pytest.mark.usefixtures("both_ways")
async def test_a_length_beyond_what_the_prompt_leaves_is_named_in_a_whole_answer(tmp_path: Path) -> None:
    async with stack(tmp_path) as s:
        await eventually(lambda: s.gateway.replicas.context_tokens() == 512)
        usage = (await ask(s, "/v1/chat/completions")).json()["usage"]
        room = 512 - usage["prompt_tokens"]
        for path, key in (
            ("/v1/chat/completions", "max_tokens"),
            ("/v1/chat/completions", "max_completion_tokens"),
        ):
            assert HEADER not in (await ask(s, path, **{key: room})).headers
            answer = await ask(s, path, **{key: room + 1})
            assert answer.headers[HEADER] == key
            assert s.engine.completions[-1].json[key] == room + 1  # the engine's to lower
        assert (await ask(s, "/v1/messages", max_tokens=511)).headers[HEADER] == "max_tokens"
        assert (await ask(s, "/v1/responses", max_output_tokens=511)).headers[HEADER] == "max_output_tokens"


async def test_a_batchs_lines_are_taken_and_counted(tmp_path: Path) -> None:
    async with timed_stack(tmp_path) as made:
        batch_id = await create(
            made, [line(1, keep_alive="5m", trace_id="t"), line(2, stop=None, made_up=None)]
        )
        batch = await until(made, batch_id, "completed", "failed")
        assert batch["request_counts"] == {"total": 2, "completed": 2, "failed": 0}
        assert counts(made) == {"keep_alive": 1, "other": 1}


@pytest.mark.usefixtures("both_ways")
async def test_a_name_that_no_header_can_hold_is_called_other(tmp_path: Path) -> None:
    async with stack(tmp_path) as s:
        fields = {"a\r\nx-evil: 1": 1, "é": 1, "a,b": 1, "l" * 65: 1, "fine-1.0": 1}
        answer = await ask(s, "/v1/chat/completions", **fields)
        assert answer.headers[HEADER] == "other,fine-1.0"
        assert "x-evil" not in answer.headers
        await s.at_rest()
        assert counts(s) == {"other": 1}


def test_no_header_has_more_names_than_it_may() -> None:
    assert ignored_header([]) == []
    ((_, value),) = ignored_header([f"label-{number}" for number in range(100)])
    assert len(value.split(b",")) == MOST_NAMED


@pytest.mark.usefixtures("both_ways")
async def test_nulls_leave_a_tasks_own_settings(tmp_path: Path) -> None:
    async with stack(tmp_path) as s:
        plain = (await ask(s, "/v1/chat/completions"), s.engine.completions[-1].json)
        nulls = dict.fromkeys(["temperature", "max_tokens", "response_format", "tools", "tool_choice", "n"])
        answer = await ask(s, "/v1/chat/completions", **nulls)
        assert s.engine.completions[-1].json == plain[1]
        assert HEADER not in answer.headers
        names = ("tools", "tool_choice", "truncation", "service_tier", "background", "temperature")
        await ask(s, "/v1/responses")
        plain_response = s.engine.completions[-1].json
        assert (await ask(s, "/v1/responses", **dict.fromkeys(names))).status_code == 200
        assert s.engine.completions[-1].json == plain_response


async def test_a_pipeline_takes_nulls_and_no_tools(tmp_path: Path) -> None:
    async with stack(tmp_path) as s:
        pipeline_answers(s)
        fields: dict[str, Any] = {
            "temperature": None,
            "tools": [],
            "tool_choice": "auto",
            "stream_options": {"include_usage": True},
        }
        answer = await ask(s, "/v1/chat/completions", model="concept-naming", **fields)
        content = answer.json()["choices"][0]["message"]["content"]
        assert concept_names(content) == ["name of one", "name of two"]
        assert answer.headers[HEADER] == "stream_options"
        assert s.engine.completions[-1].json["model"] == TASKS["naming"]
