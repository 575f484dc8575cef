"""A task's fallback: LiteLLM itself, with another fake server as its provider."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from gateway.config.document import FallbackConfig
from gateway.dialects.tokens.dialect import TOKENIZE
from gateway.errors import EngineError, GatewayTimeout, InvalidRequest, TooManyRequests, Unavailable
from gateway.relay.fallback.policy import Unable, question, reason_of
from gateway.relay.fallback.provider import Provider
from tests.fakes.fake_engine import Answer, FakeEngine
from tests.support.controlled import controlled
from tests.support.stack import TASKS, Stack, config_of, eventually, stack, write_report

SECRET = "sk-very-secret-0123456789"


ENV = {"OTHER_KEY": SECRET}


MODEL = "openai/base"


@dataclass
class Fallen:
    stack: Stack
    other: FakeEngine

    def outcomes(self) -> dict[tuple[str, str], float]:
        """(reason, outcome) → requests, by /metrics."""
        found = {}
        for key, value in self.stack.samples().items():
            if key[0] == "fallback_total":
                labels = dict(part.split("=", 1) for part in key[1:])
                assert (labels["task"], labels["model"]) == ("naming", MODEL)
                found[labels["reason"], labels["outcome"]] = value
        return found


@asynccontextmanager
async def other_server() -> AsyncIterator[tuple[FakeEngine, dict[str, object]]]:
    """Another server, and the settings of a fallback to it."""
    other = FakeEngine()
    url = await other.start()
    try:
        yield other, {"model": MODEL, "api_base": f"{url}/v1", "api_key_env": "OTHER_KEY"}
    finally:
        await other.stop()


@asynccontextmanager
async def fallen(
    folder: Path, when: object, *, ready: bool = False, more: dict[str, object] | None = None, **settings: Any
) -> AsyncIterator[Fallen]:
    """A gateway whose `naming` falls back to another server; its own engine has failed unless `ready`."""
    provider = Provider(ENV)
    async with other_server() as (other, where):
        fallback = {**where, "when": when, **(more or {})}
        if not ready:
            write_report(config_of(folder, fallback=fallback), state="failed", reason="it died")
        async with stack(folder, ready=ready, fallback=fallback, provider=provider, **settings) as made:
            await provider.loaded()
            yield Fallen(made, other)


@pytest.mark.anyio
async def test_an_engine_that_is_gone_is_replaced_and_said_so(tmp_path: Path) -> None:
    async with fallen(tmp_path, "failed") as f:
        answer = await f.stack.chat()
        assert answer.status_code == 200, answer.text
        assert answer.json()["choices"][0]["message"]["content"] == "Paris"
        assert answer.json()["model"] == "base"
        assert answer.headers["x-gateway-task"] == "naming"
        assert answer.headers["x-gateway-fallback"] == MODEL
        assert answer.headers["x-gateway-fallback-reason"] == "failed"
        assert "x-gateway-adapter" not in answer.headers
        asked = f.other.completions[0]
        assert asked.headers["authorization"] == f"Bearer {SECRET}"
        assert f.outcomes() == {("failed", "answered"): 1}
        served = ("requests_total", f"adapter={MODEL}", "origin=fallback", "status=200", "task=naming")
        tokens = ("completion_tokens_total", f"adapter={MODEL}", "origin=fallback", "task=naming")
        assert f.stack.samples()[served] == 1
        assert f.stack.samples()[tokens] > 0


@pytest.mark.anyio
async def test_the_prompt_contract_is_kept(tmp_path: Path) -> None:
    async with fallen(tmp_path, ["failed"]) as f:
        await f.stack.chat(temperature=0.5, user="u-1", metadata={"a": "b"})
        asked = f.other.completions[0].json
        messages = asked["messages"]
        assert isinstance(messages, list)
        assert [(m["role"], m["content"]) for m in messages] == [
            ("system", "Name the concept."),
            ("user", "cat"),
        ]
        assert (asked["temperature"], asked["max_tokens"]) == (0.5, 24)
        schema = asked["response_format"]
        assert isinstance(schema, dict)
        assert schema["json_schema"]["schema"] == {"type": "string"}
        assert not {"user", "metadata"} & asked.keys()


@pytest.mark.anyio
async def test_a_stream_comes_in_openais_form(tmp_path: Path) -> None:
    async with fallen(tmp_path, "failed") as f:
        answer = await f.stack.chat(stream=True, stream_options={"include_usage": True})
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert answer.headers["x-gateway-fallback"] == MODEL
        *events, last = [line[6:] for line in answer.text.split("\n\n") if line]
        assert last == "[DONE]"
        chunks = [json.loads(event) for event in events]
        text = "".join(c["choices"][0]["delta"].get("content") or "" for c in chunks if c["choices"])
        assert text == "Paris"
        assert chunks[-1]["choices"] == []
        assert chunks[-1]["usage"]["completion_tokens"] > 0
        assert all(chunk["usage"] is None for chunk in chunks[:-1])
        assert '"usage"' not in (await f.stack.chat(stream=True)).text
        plain = await f.stack.chat(stream=True)
        assert '"usage"' not in plain.text


@pytest.mark.parametrize("streaming", [True, False])
@pytest.mark.anyio
async def test_text_completions_are_asked_as_a_chat(tmp_path: Path, streaming: bool) -> None:
    async with fallen(tmp_path, "failed") as f:
        body = {"model": "naming", "prompt": "cat", "stream": streaming}
        answer = await f.stack.client.post("/v1/completions", json=body)
        assert answer.status_code == 200, answer.text
        assert f.other.completions[0].json["messages"] == [{"role": "user", "content": "cat"}]
        lines = [line[6:] for line in answer.text.split("\n") if line.startswith("data: {")]
        documents = [json.loads(line) for line in lines] if streaming else [answer.json()]
        assert {document["object"] for document in documents} == {"text_completion"}
        choices = [choice for document in documents for choice in document["choices"]]
        assert "".join(choice["text"] for choice in choices) == "Paris"
        assert choices[-1]["finish_reason"] == "stop"
        numbers = {"model": "naming", "prompt": [1, 2]}
        refused = await f.stack.client.post("/v1/completions", json=numbers)
        assert "one prompt of text only" in refused.json()["error"]["message"]


@pytest.mark.parametrize("when", ["never", ["overload"], ["cold", "overload"]])
@pytest.mark.anyio
async def test_the_policy_decides(tmp_path: Path, when: object) -> None:
    async with fallen(tmp_path, when) as f:
        answer = await f.stack.chat()
        assert answer.status_code == 503
        assert "fallback" not in answer.text
        assert not f.other.completions
        assert f.outcomes() == {}


@pytest.mark.anyio
async def test_another_task_has_none(tmp_path: Path) -> None:
    async with fallen(tmp_path, "failed") as f:
        assert (await f.stack.chat(model="concept")).status_code == 503
        assert not f.other.completions


@pytest.mark.anyio
async def test_a_cold_engine_is_asked_for_and_not_waited_for(tmp_path: Path) -> None:
    async with other_server() as (other, settings):
        fallback = settings | {"when": ["cold"]}
        async with controlled(tmp_path, "stopped", lazy=True, fallback=fallback, provider=Provider(ENV)) as c:
            answer = await c.stack.chat()
            assert answer.headers["x-gateway-fallback-reason"] == "cold"
            assert "x-gateway-cold" not in answer.headers
            assert len(other.completions) == 1
            await eventually(lambda: c.control.starts() >= 1)
            assert c.stack.gateway.room.waiting == 0
            await c.state("ready", lazy=True)
            assert "x-gateway-fallback" not in (await c.stack.chat()).headers


@pytest.mark.anyio
async def test_a_start_that_ends_in_time_is_waited_for(tmp_path: Path) -> None:
    async with other_server() as (other, settings):
        fallback = settings | {"when": ["cold"], "after_s": 30}
        async with controlled(
            tmp_path, "starting", lazy=True, fallback=fallback, provider=Provider(ENV)
        ) as c:
            asking = asyncio.create_task(c.stack.chat())
            await eventually(lambda: c.stack.gateway.room.waiting == 1)
            await c.state("ready", lazy=True)
            answer = await asking
            assert (answer.headers["x-gateway-cold"], "x-gateway-fallback" in answer.headers) == (
                "true",
                False,
            )
            assert not other.completions


@pytest.mark.anyio
async def test_a_full_queue_falls_back(tmp_path: Path) -> None:
    bounds: dict[str, Any] = {"max_in_flight_per_task": 1, "max_waiting_per_task": 0}
    async with fallen(tmp_path, "overload", ready=True, **bounds) as f:
        held = asyncio.Event()
        f.stack.engine.answers["naming@bbbbbbbbbbbb"] = Answer(hold_head=held)
        first = asyncio.create_task(f.stack.chat())
        await f.stack.engine.until(lambda: f.stack.engine.active == 1)
        second = await f.stack.chat()
        assert second.headers["x-gateway-fallback-reason"] == "overload"
        held.set()
        assert "x-gateway-fallback" not in (await first).headers


@pytest.mark.anyio
async def test_a_refusal_of_the_request_itself_is_never_repeated(tmp_path: Path) -> None:
    async with fallen(tmp_path, ["cold", "overload", "failed"], ready=True) as f:
        assert (await f.stack.chat(n=1000)).status_code == 400
        f.stack.engine.answers["naming@bbbbbbbbbbbb"] = Answer(status=500, body=b"{}")
        assert (await f.stack.chat()).status_code == 500
        assert not f.other.completions


@pytest.mark.anyio
async def test_an_engine_that_takes_no_connection_falls_back_at_once(tmp_path: Path) -> None:
    async with fallen(tmp_path, "failed", ready=True) as f:
        await f.stack.engine.stop()
        answer = await f.stack.chat()
        assert answer.headers["x-gateway-fallback-reason"] == "failed"


@pytest.mark.anyio
@pytest.mark.parametrize("lost", [True, False], ids=["adapter lost", "engine gone"])
async def test_where_it_fails_too_the_engines_failure_stands(tmp_path: Path, lost: bool) -> None:
    async with fallen(tmp_path, "failed", ready=True) as f:
        f.other.answers["base"] = Answer(status=401, body=b"{}")
        if lost:
            message = json.dumps({"error": {"message": f"The model `{TASKS['naming']}` does not exist."}})
            f.stack.engine.answers[TASKS["naming"]] = Answer(status=404, body=message.encode())
        else:
            await f.stack.engine.stop()
        answer = await f.stack.chat()
        error = answer.json()["error"]
        told = (503, "adapter_not_loaded") if lost else (502, "engine_unreachable")
        assert (answer.status_code, error["code"]) == told
        assert "did not answer either: AuthenticationError (401)" in error["message"]


@pytest.mark.anyio
async def test_what_it_cannot_honour_is_not_dropped(tmp_path: Path) -> None:
    async with fallen(tmp_path, "failed") as f:
        answer = await f.stack.chat(top_k=5)
        assert answer.status_code == 503
        assert "Its fallback 'openai/base' did not answer either: it cannot honour 'top_k'" in answer.text
        assert f.outcomes() == {("failed", "refused"): 1}


@pytest.mark.anyio
async def test_a_provider_that_fails_leaves_the_first_error_and_no_secret(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    async with fallen(tmp_path, "failed") as f:
        said = json.dumps({"error": {"message": f"wrong key {SECRET} at http://10.0.0.9", "type": "x"}})
        f.other.answers["base"] = Answer(status=401, body=said.encode())
        for streamed in (False, True):
            answer = await f.stack.chat(stream=streamed)
            assert answer.status_code == 503
            assert "AuthenticationError (401)" in answer.json()["error"]["message"]
            assert int(answer.headers["retry-after"]) > 0
            assert SECRET not in answer.text
            assert "10.0.0.9" not in answer.text
        assert f.outcomes() == {("failed", "failed"): 2}
    assert SECRET not in "\n".join(one.getMessage() for one in caplog.records if "gateway" in one.name)


@pytest.mark.anyio
async def test_a_stream_that_breaks_off_ends_with_an_error_event(tmp_path: Path) -> None:
    async with fallen(tmp_path, "failed") as f:
        f.other.answers["base"] = Answer(tokens=["a", "b", "c"], break_before=2)
        answer = await f.stack.chat(stream=True)
        assert answer.status_code == 200
        assert "fallback_failed" in answer.text.split("\n\n")[-2]
        assert "[DONE]" not in answer.text


@pytest.mark.anyio
async def test_a_client_that_leaves_ends_the_call(tmp_path: Path) -> None:
    async with fallen(tmp_path, "failed") as f:
        held = asyncio.Event()
        f.other.answers["base"] = Answer(hold_token={1: held})
        reader, writer = await f.stack.open(stream=True)
        await reader.readuntil(b"data: ")
        writer.transport.abort()
        await f.other.until(lambda: f.other.active == 0)
        await eventually(lambda: f.outcomes() == {("failed", "cancelled"): 1})


@pytest.mark.anyio
async def test_a_full_fallback_is_said(tmp_path: Path) -> None:
    async with fallen(tmp_path, "failed", more={"max_in_flight": 1}) as f:
        held = asyncio.Event()
        f.other.answers["base"] = Answer(hold_head=held)
        first = asyncio.create_task(f.stack.chat())
        await f.other.until(lambda: f.other.active == 1)
        second = await f.stack.chat()
        assert (second.status_code, "max_in_flight" in second.text) == (503, True)
        held.set()
        assert (await first).status_code == 200


@pytest.mark.anyio
async def test_a_key_that_is_not_set_is_named(tmp_path: Path) -> None:
    async with fallen(tmp_path, "failed", more={"api_key_env": "NOT_THERE"}) as f:
        answer = await f.stack.chat()
        assert answer.status_code == 503
        assert "NOT_THERE is not set" in answer.text


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (TooManyRequests("x"), "overload"),
        (Unavailable("x", code="overloaded"), "overload"),
        (Unavailable("x"), "cold"),
        (Unavailable("x", code="engine_not_running"), "failed"),
        (Unavailable("x", code="adapter_not_loaded"), "failed"),
        (EngineError("x", code="engine_unreachable"), "failed"),
        (EngineError("x"), None),
        (GatewayTimeout("x"), None),
        (InvalidRequest("x"), None),
    ],
)
def test_reasons(error: Any, reason: str | None) -> None:
    assert reason_of(error) == reason


def test_routes_without_a_fallback_say_so() -> None:
    assert question(TOKENIZE, {"prompt": "x"}) == Unable("requests on this route (tokenize) have none")


@pytest.mark.parametrize(
    ("settings", "mend"),
    [
        ({"model": "gpt-4o"}, "provider/model"),
        ({"model": "openai/x", "api_key_env": SECRET}, "not the key itself"),
        ({"model": "openai/x", "when": "sometimes"}, "'cold', 'overload' or 'failed'"),
    ],
)
def test_settings_that_cannot_be(settings: dict[str, object], mend: str) -> None:
    with pytest.raises(ValidationError, match=mend):
        FallbackConfig.model_validate(settings)
