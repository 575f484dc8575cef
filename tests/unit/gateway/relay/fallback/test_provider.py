"""What a fallback must not do: tell a key to a wrong address, fetch addresses, leave calls open."""

from __future__ import annotations

import asyncio
import json
import logging
from pathlib import Path
from typing import Any

import pytest

from gateway.config.document import FallbackConfig
from gateway.errors import ProviderFailed
from gateway.relay.fallback.provider import Provider
from tests.fakes.fake_engine import Answer
from tests.support.controlled import controlled
from tests.support.stack import eventually
from tests.unit.gateway.relay.fallback.test_fallbacks import ENV, MODEL, SECRET, fallen, other_server

pytestmark = pytest.mark.anyio


TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}
PATHS = ["/v1/chat/completions", "/v1/completions", "/v1/messages", "/v1/responses"]


def asked_on(path: str) -> dict[str, object]:
    if path == "/v1/completions":
        return {"model": "naming", "prompt": "cat"}
    if path == "/v1/responses":
        return {"model": "naming", "input": "cat"}
    return {"model": "naming", "messages": [{"role": "user", "content": "cat"}], "max_tokens": 9}


async def test_key_of_the_environment_goes_to_no_other_address(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)
    async with fallen(tmp_path, "failed", more={"api_key_env": None}) as f:
        assert (await f.stack.chat()).status_code == 200
        assert SECRET not in str(f.other.completions[0].headers)


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        (
            {
                "messages": [
                    {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:,x"}}]}
                ]
            },
            "text only",
        ),
        ({"logit_bias": {"5": 1}}, "'logit_bias'"),
    ],
)
async def test_what_means_something_else_there_is_not_asked(
    tmp_path: Path, fields: dict[str, Any], why: str
) -> None:
    async with fallen(tmp_path, "failed") as f:
        answer = await f.stack.chat(**fields)
        assert answer.status_code == 503
        assert why in answer.json()["error"]["message"]
        assert not f.other.completions


async def test_text_in_parts_is_asked(tmp_path: Path) -> None:
    async with fallen(tmp_path, "failed") as f:
        parts = [{"type": "text", "text": "cat"}]
        assert (await f.stack.chat(messages=[{"role": "user", "content": parts}])).status_code == 200


async def test_request_that_it_cannot_take_waits_for_a_cold_engine(tmp_path: Path) -> None:
    async with other_server() as (other, settings):
        fallback = settings | {"when": ["cold"]}
        async with controlled(tmp_path, "stopped", lazy=True, fallback=fallback, provider=Provider(ENV)) as c:
            asking = asyncio.create_task(c.stack.chat(top_k=3))
            await c.control.until(lambda: c.control.starts() == 1)
            await c.state("ready", lazy=True)
            answer = await asking
            assert answer.status_code == 200
            assert answer.headers["x-gateway-cold"] == "true"
            assert not other.completions


async def test_stream_that_has_begun_is_never_handed_over(tmp_path: Path) -> None:
    """Its head is out, so that nothing could say whose words follow."""
    async with other_server() as (other, settings):
        fallback = settings | {"when": ["failed", "overload"]}
        async with controlled(
            tmp_path, "stopped", lazy=True, heartbeat_s=0.01, fallback=fallback, provider=Provider(ENV)
        ) as c:
            reader, writer = await c.stack.open(stream=True)
            await reader.readuntil(b": engine starting")
            await c.state("failed", reason="it died", lazy=False)
            rest = (await reader.readuntil(b"\n0\r\n\r\n")).decode()
            writer.transport.abort()
            assert "engine_not_running" in rest
            assert not other.completions


@pytest.mark.parametrize("streaming", [True, False])
@pytest.mark.parametrize("path", PATHS)
async def test_client_that_leaves_closes_the_call(tmp_path: Path, path: str, streaming: bool) -> None:
    async with fallen(tmp_path, "failed") as f:
        held = asyncio.Event()
        f.other.answers["base"] = Answer(tokens=["a", "b", "c"], hold_token={1: held})
        body = json.dumps(asked_on(path) | {"stream": streaming}).encode()
        reader, writer = await asyncio.open_connection("127.0.0.1", f.stack.port)
        head = b"POST %b HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % (path.encode(), len(body))
        writer.write(head + body)
        await f.other.until(lambda: f.other.active == 1)
        if streaming:
            await reader.readuntil(b"data: ")
        writer.transport.abort()
        await f.other.until(lambda: f.other.aborts == 1)
        await eventually(lambda: f.outcomes() == {("failed", "cancelled"): 1})


@pytest.mark.parametrize("path", PATHS)
async def test_calls_share_a_connection(tmp_path: Path, path: str) -> None:
    async with fallen(tmp_path, "failed") as f:
        for _ in range(3):
            assert (await f.stack.client.post(path, json=asked_on(path))).status_code == 200
        assert f.other.connections == 1


async def test_no_log_holds_an_address_of_the_provider(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Some providers have the key in it."""
    caplog.set_level(logging.INFO)
    async with fallen(tmp_path, "failed") as f:
        assert (await f.stack.chat()).status_code == 200
        logged = [one.getMessage() for one in caplog.records if not one.name.startswith("tests")]
        assert not [line for line in logged if f.other.url in line and "/v1/chat" in line]


async def test_pipeline_stage_falls_back_and_says_so(tmp_path: Path) -> None:
    concepts = json.dumps({"concepts": [{"definition": "a"}, {"definition": "b"}]})
    async with fallen(tmp_path, "overload", ready=True) as f:
        f.stack.engine.answers["concept@aaaaaaaaaaaa"] = Answer(tokens=[concepts])
        f.stack.engine.answers["naming@bbbbbbbbbbbb"] = Answer(status=503, body=b"full")
        f.other.answers["base"] = Answer(tokens=['"cats"'])
        for streaming in (False, True):
            options = {"stream": True, "stream_options": {"include_usage": True}} if streaming else {}
            answer = await f.stack.chat(model="concept-naming", **options)
            assert answer.status_code == 200, answer.text
            if streaming:
                events = [line[6:] for line in answer.text.split("\n") if line.startswith("data: {")]
                usage = json.loads(events[-1])["usage"]
            else:
                usage = answer.json()["usage"]
                content = json.loads(answer.json()["choices"][0]["message"]["content"])
                assert [concept["name"] for concept in content["concepts"]] == ["cats", "cats"]
            extract, name = usage["stages"]
            assert "fallbacks" not in extract
            assert (name["adapter"], name["fallbacks"], name["errors"]) == (MODEL, 2, 0)
        assert f.outcomes() == {("overload", "answered"): 4}


@pytest.mark.parametrize("value", [b'"seed":' + b"9" * 5000, b'"temperature":1e999', b'"user":"\xff"'])
async def test_value_that_cannot_be_read_leaves_the_engines_own_error(tmp_path: Path, value: bytes) -> None:
    body = b'{"model":"naming","messages":[{"role":"user","content":"x"}],' + value + b"}"
    async with fallen(tmp_path, ["failed"]) as f:
        answer = await f.stack.chat(body)
        assert answer.status_code == 503, answer.text
        assert not f.other.completions


@pytest.mark.parametrize(
    ("model", "fields", "lost"),
    [
        ("openai/o1-pro", {"stop": ["x"]}, "stop"),
        ("openai/o1-pro", {"seed": 1}, "seed"),
        ("openai/responses/base", {"max_tokens": 5}, "max_tokens"),
        ("openai/gpt-5.4", {"seed": 1, "reasoning_effort": "low", "tools": [TOOL]}, "seed"),
        ("openai/gpt-5.4", {"seed": 1}, None),
        ("openai/base", {"seed": 1, "stop": ["x"], "max_tokens": 5}, None),
    ],
)
async def test_model_that_litellm_asks_no_chats_loses_nothing_unsaid(
    tmp_path: Path, model: str, fields: dict[str, Any], lost: str | None
) -> None:
    async with other_server() as (other, settings):
        fallback = FallbackConfig.model_validate({**settings, "model": model, "when": "failed"})
        provider = Provider(ENV)
        asked = {"messages": [{"role": "user", "content": "x"}], **fields}
        other.answers[model.rpartition("/")[2]] = Answer()
        try:
            if lost is None:
                await provider.answer(fallback, asked)
            else:
                with pytest.raises(ProviderFailed, match=f"it cannot honour '{lost}'"):
                    await provider.answer(fallback, asked)
        finally:
            await provider.close()
        assert [one.path for one in other.completions] == ([] if lost else ["/v1/chat/completions"])
