"""A gateway without an engine, whose `naming` falls back to the real one: LiteLLM between two gateways."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from anthropic import Anthropic
from openai import OpenAI

from gateway.config.document import load_config
from tests.engine.conftest import CONFIG, ROOT, RealStack

pytestmark = pytest.mark.engine

PROMPT = "Definition: a young cat\nMembers: tabby, moggy"
NAMING = "openai/naming"
MESSAGES = [{"role": "user", "content": PROMPT}]


@contextmanager
def without_engine(folder: Path, url: str, when: list[str]) -> Iterator[str]:
    """Its address."""
    document = load_config(CONFIG).model_dump(mode="json", by_alias=True)
    fallback = {"model": NAMING, "api_base": f"{url}/v1", "when": when}
    document["tasks"]["naming"]["fallback"] = fallback
    file, log = folder / "config.json", folder / "gateway.log"
    file.write_text(json.dumps(document))
    # What a control plane that has ended leaves; of none at all the gateway would wait 15 s for one.
    engine = {"name": "engine-0", "state": "failed", "reason": "a test"}
    (folder / "engine.json").write_text(json.dumps({"version": 0, "engines": [engine]}))
    command = [sys.executable, "-m", "gateway", "--config", str(file), "--state-dir", str(folder)]
    with log.open("wb") as out:
        child = subprocess.Popen([*command, "--port", "0"], cwd=ROOT, stdout=out, stderr=subprocess.PIPE)
    try:
        assert child.stderr is not None
        said = b""
        while not (found := re.search(rb"listening on (http://\S+)", said)):
            line = child.stderr.readline()
            assert line, said.decode()
            said += line
        yield found[1].decode()
    finally:
        child.send_signal(signal.SIGTERM)
        rest = child.communicate(timeout=240)[1].decode()
        assert "Traceback" not in rest, rest


@pytest.fixture(scope="module")
def failed(real: RealStack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Such a gateway for several tests: to import LiteLLM takes it long."""
    with without_engine(tmp_path_factory.mktemp("failed"), real.url, ["failed"]) as url:
        yield url


def answered(url: str) -> float:
    """How often the other gateway has answered in the engine's place."""
    labels = 'model="openai/naming",outcome="answered",reason="failed",task="naming"'
    found = re.search(rf"fallback_total{{{labels}}} (\S+)", httpx.get(f"{url}/metrics").text)
    return float(found[1]) if found else 0.0


def test_answer_and_stream_come_from_the_other_gateway(real: RealStack, failed: str) -> None:
    url, before = failed, answered(failed)
    body = {"model": "naming", "messages": MESSAGES, "max_tokens": 6}
    answer = httpx.post(f"{url}/v1/chat/completions", json=body, timeout=240)
    assert answer.status_code == 200, answer.text
    assert answer.headers["x-gateway-fallback"] == "openai/naming"
    assert answer.headers["x-gateway-fallback-reason"] == "failed"
    assert answer.headers["x-gateway-task"] == "naming"
    own = httpx.post(f"{real.url}/v1/chat/completions", json=body, timeout=240).json()
    text = own["choices"][0]["message"]["content"]
    assert answer.json()["choices"][0]["message"]["content"] == text  # greedy, with the task's contract
    assert answer.json()["usage"]["completion_tokens"] == own["usage"]["completion_tokens"]
    with OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0, timeout=240) as client:
        stream = client.chat.completions.create(
            model="naming",
            messages=[{"role": "user", "content": PROMPT}],
            max_tokens=6,
            stream=True,
        )
        parts = [choice.delta.content or "" for chunk in stream for choice in chunk.choices]
    assert "".join(parts) == text
    refused = httpx.post(f"{url}/v1/chat/completions", json=body | {"top_k": 3}, timeout=240)
    assert refused.status_code == 503
    assert "cannot honour 'top_k'" in refused.json()["error"]["message"]
    other = httpx.post(f"{url}/v1/chat/completions", json=body | {"model": "concept"}, timeout=240)
    assert other.status_code == 503
    assert answered(url) == before + 2
    real.until_idle()


Said = tuple[str, int, int]
"""A text, and the tokens of prompt and answer."""


def by_anthropics_sdk(address: str, fallback: str | None) -> list[Said]:
    """A message, whole and streamed."""
    asked: Any = {"model": "naming", "max_tokens": 6, "messages": MESSAGES}
    with Anthropic(base_url=address, api_key="none", max_retries=0, timeout=240) as client:
        raw = client.messages.with_raw_response.create(**asked)
        assert raw.headers.get("x-gateway-fallback") == fallback
        with client.messages.stream(**asked) as stream:
            messages = [raw.parse(), stream.get_final_message()]
    texts = ["".join(block.text for block in one.content if block.type == "text") for one in messages]
    assert messages[0].stop_reason == messages[1].stop_reason
    return [
        (text, one.usage.input_tokens, one.usage.output_tokens)
        for text, one in zip(texts, messages, strict=True)
    ]


def by_openais_sdk(address: str, fallback: str | None) -> list[Said]:
    """A response, whole and streamed."""
    asked: Any = {"model": "naming", "max_output_tokens": 6, "input": PROMPT}
    with OpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0, timeout=240) as client:
        raw = client.responses.with_raw_response.create(**asked)
        assert raw.headers.get("x-gateway-fallback") == fallback
        with client.responses.stream(**asked) as stream:
            responses = [raw.parse(), stream.get_final_response()]
    assert responses[0].status == responses[1].status
    said = []
    for one in responses:
        assert one.usage is not None
        said.append((one.output_text, one.usage.input_tokens, one.usage.output_tokens))
    return said


def test_both_sdks_read_what_the_other_gateway_says(real: RealStack, failed: str) -> None:
    url, before = failed, answered(failed)
    said = [*by_anthropics_sdk(url, NAMING), *by_openais_sdk(url, NAMING)]
    own = [*by_anthropics_sdk(real.url, None), *by_openais_sdk(real.url, None)]
    assert own[0][0]
    assert said == own == [own[0]] * 4  # greedy, with the task's contract in each
    odd: list[tuple[str, dict[str, Any], str]] = [
        ("messages", {"messages": MESSAGES, "max_tokens": 6, "top_k": 3}, "cannot honour 'top_k'"),
        ("responses", {"input": PROMPT, "top_logprobs": 2}, "cannot honour 'top_logprobs'"),
    ]
    for path, body, why in odd:
        refused = httpx.post(f"{url}/v1/{path}", json={"model": "naming", **body}, timeout=240)
        assert (refused.status_code, why in refused.json()["error"]["message"]) == (503, True)
    assert answered(url) == before + 4
    real.until_idle()


def test_policy_that_does_not_say_so_leaves_the_error(real: RealStack, tmp_path: Path) -> None:
    with without_engine(tmp_path, real.url, ["overload"]) as url:
        body = {"model": "naming", "messages": MESSAGES, "max_tokens": 6}
        answer = httpx.post(f"{url}/v1/chat/completions", json=body, timeout=240)
        assert answer.status_code == 503
        assert answer.json()["error"]["code"] == "engine_not_running"
