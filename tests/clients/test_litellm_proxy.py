"""A real LiteLLM proxy in front of the gateway, with the configuration that the project ships."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import openai
import pytest
import yaml

from tests.support.real.real_stack import ROOT

CONFIG = ROOT / "configs/litellm-proxy.yaml"
MODELS = [entry["model_name"] for entry in yaml.safe_load(CONFIG.read_text(encoding="utf-8"))["model_list"]]
MASTER_KEY = "sk-of-the-proxy"
START_S = 180.0
CLUSTER = '["apple", "truck", "banana", "bicycle", "bus", "cherry"]'
QUESTIONS = {
    "base": "Say hello.",
    "concept": "apple\ntruck\nbanana\nbicycle",
    "naming": "Definition: a domesticated animal that barks\nMembers: poodle, beagle, terrier",
    "concept-naming": CLUSTER,
}


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


@pytest.fixture(scope="module")
def proxy(url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[openai.OpenAI]:
    port, log = free_port(), tmp_path_factory.mktemp("proxy") / "proxy.log"
    program = Path(sys.executable).parent / "litellm"
    command = [str(program), "--config", str(CONFIG), "--host", "127.0.0.1", "--port", str(port)]
    env = {
        **os.environ,
        "LORA_GATEWAY_API_BASE": f"{url}/v1",
        "LORA_GATEWAY_API_KEY": "none",
        "LITELLM_MASTER_KEY": MASTER_KEY,
        "LITELLM_MODE": "PRODUCTION",
    }
    with (
        log.open("wb") as out,
        subprocess.Popen(command, env=env, stdout=out, stderr=out, cwd=log.parent) as child,
    ):
        try:
            _until_alive(f"http://127.0.0.1:{port}", child, log)
            yield openai.OpenAI(
                base_url=f"http://127.0.0.1:{port}/v1", api_key=MASTER_KEY, timeout=300, max_retries=0
            )
        finally:
            child.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(20)
            child.kill()


def _until_alive(address: str, child: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline and child.poll() is None:
        with contextlib.suppress(httpx.TransportError):
            if httpx.get(f"{address}/health/liveliness", timeout=5).status_code == 200:
                return
        time.sleep(0.5)
    raise AssertionError(f"the proxy did not start\n{log.read_text(errors='replace')[-3000:]}")


def test_the_proxy_knows_every_model_of_the_demo(proxy: openai.OpenAI, url: str) -> None:
    ours = {model["id"] for model in httpx.get(f"{url}/v1/models").json()["data"]}
    assert ours == set(MODELS)
    assert {model.id for model in proxy.models.list()} == ours


@pytest.mark.parametrize("model", MODELS)
def test_each_model_answers_through_the_proxy_as_it_does_without(
    proxy: openai.OpenAI, url: str, model: str
) -> None:
    direct = openai.OpenAI(base_url=f"{url}/v1", api_key="none", timeout=300)
    said = []
    for client in (direct, proxy):
        answer = client.chat.completions.create(
            model=model,
            messages=[{"role": "user", "content": QUESTIONS[model]}],
            temperature=0,
            max_tokens=96 if model != "base" else 8,
        )
        said.append(answer.choices[0].message.content)
        assert answer.usage is not None
        assert answer.usage.completion_tokens > 0
    assert said[0] == said[1]


@pytest.mark.parametrize("model", ["base", "naming", "concept-naming"])
def test_streams_come_through_in_pieces(proxy: openai.OpenAI, model: str) -> None:
    stream = proxy.chat.completions.create(
        model=model,
        messages=[{"role": "user", "content": QUESTIONS[model]}],
        temperature=0,
        max_tokens=512 if model != "base" else 8,
        stream=True,
        stream_options={"include_usage": True},
    )
    pieces, usage = [], None
    for chunk in stream:
        usage = chunk.usage or usage
        pieces += [choice.delta.content for choice in chunk.choices if choice.delta.content]
    assert len(pieces) > (model != "naming")  # most names are one token
    assert usage is not None
    assert usage.completion_tokens > 0
    if model == "concept-naming":
        concepts = json.loads("".join(pieces))["concepts"]
        assert all(concept["name"] for concept in concepts)


def test_a_refusal_of_the_gateways_keeps_its_status_and_its_words(proxy: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="'n' is 1000; it may be from 1 to 16"):
        proxy.chat.completions.create(model="naming", messages=[{"role": "user", "content": "x"}], n=1000)


def test_a_wrong_key_of_the_proxys_is_refused_there(proxy: openai.OpenAI) -> None:
    with pytest.raises(openai.APIStatusError) as refused:
        proxy.with_options(api_key="sk-wrong").models.list()
    assert refused.value.status_code in (
        400,
        401,
    )  # without a database LiteLLM has no keys to look in, and says 400
