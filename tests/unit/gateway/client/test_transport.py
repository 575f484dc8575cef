"""The Python API without a gateway: what it makes of answers, and what it needs to be imported."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from gateway.client import (
    GatewayUnreachable,
    InvalidArgument,
    ModelManager,
)
from gateway.client.calls import Call
from gateway.client.connections import Network
from gateway.client.transport import AsyncLink, Link, Target, target_of
from tests.unit.gateway.client.conftest import URL

ROOT = Path(__file__).parents[4]


pytestmark = pytest.mark.usefixtures("named_gateway")


Answering = Callable[[httpx.Request], httpx.Response]


def entry(name: str, kind: str, **more: object) -> dict[str, object]:
    root = None if kind == "pipeline" else f"{name}@1"
    return {"id": name, "kind": kind, "root": root, "parent": None, "max_model_len": 9, **more}


MODELS = [entry("smol", "base"), entry("concept", "task"), entry("naming", "task")]


def network(answer: Answering, models: object = MODELS) -> Network:
    """A gateway that lists `models` and answers all else by `answer`."""

    def handle(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/v1/models":
            return httpx.Response(200, json={"data": models})
        return answer(request)

    transport = httpx.MockTransport(handle)
    return Network(lambda target: Link(target, transport), lambda target: AsyncLink(target, transport))


def said(text: str) -> httpx.Response:
    return httpx.Response(200, json={"choices": [{"message": {"content": text}, "finish_reason": "stop"}]})


def body_of(request: httpx.Request) -> dict[str, object]:
    document = json.loads(request.content)
    assert isinstance(document, dict)
    return document


def prompt_of(request: httpx.Request) -> str:
    messages = body_of(request)["messages"]
    assert isinstance(messages, list)
    return str(messages[-1]["content"])


def by_hand(request: httpx.Request) -> httpx.Response:
    if body_of(request)["model"] == "concept":
        assert prompt_of(request) == "apple: round\npear\nbus"
        groups = [
            {"members": ["apple", "pear"], "definition": "eaten."},
            {"members": ["bus"], "definition": "driven."},
        ]
        return said(json.dumps({"concepts": groups}))
    assert body_of(request)["model"] == "naming"
    return said({"Definition: eaten.\nMembers: apple, pear": " fruit\n"}.get(prompt_of(request), "vehicle"))


def test_answer_of_something_else_is_told() -> None:
    for answer in (httpx.Response(200, text="<html>"), httpx.Response(200, json={"hello": 1})):
        manager = ModelManager(network(lambda _, answer=answer: answer))  # type: ignore[misc]
        with manager.use_model("naming") as model, pytest.raises(GatewayUnreachable, match="no lora-gateway"):
            model.generate_text("p")
    with pytest.raises(GatewayUnreachable, match="lists no models"):
        ModelManager(network(by_hand, 3)).configure_models_sync(url=URL)


@pytest.mark.parametrize("given", ["http://a:1", "http://a:1/", "http://a:1/v1", "http://a:1/v1/?x=1"])
def test_address_is_taken_with_and_without_its_path(given: str) -> None:
    assert target_of(given, None).url == "http://a:1"


def test_where_an_address_leads_is_told() -> None:
    """As a proxy answers that takes https alone."""
    moved = httpx.Response(301, headers={"location": "https://gateway.test/v1/models"})
    manager = ModelManager(network(lambda _: moved))
    with manager.use_model("naming") as model:
        for ask in (model.generate_text, lambda prompt: list(model.stream_text(prompt))):
            with pytest.raises(GatewayUnreachable, match=rf"at {URL} \(it leads to https://gateway\.test/v1"):
                ask("p")


@pytest.mark.parametrize("given", ["a:1", "", "ftp://a", "http://"])
def test_address_that_is_none_is_refused(given: str) -> None:
    with pytest.raises(InvalidArgument, match="url: "):
        target_of(given, None)


@pytest.mark.parametrize("key", ["sk-secret\n", "sk-secrét", "sk-secret ", " sk-secret"])
def test_a_key_that_no_header_can_have_is_refused_and_not_shown(key: str) -> None:
    with pytest.raises(InvalidArgument, match=r"^api_key: ") as refused:
        target_of(URL, key)
    assert "secr" not in str(refused.value)


ALONE = """
import sys

class Blocked:
    allowed = {allowed!r}

    def find_spec(self, name, path=None, target=None):
        top = name.partition(".")[0]
        if top not in (*self.allowed, *sys.stdlib_module_names) and not top.startswith("_sysconfigdata"):
            raise ImportError(f"{{name}} is not installed here", name=name)

sys.meta_path.insert(0, Blocked())
from gateway.client import InvalidArgument, ModelManager, get_model_manager
import gateway.errors
import httpx, json
from gateway.client.connections import Network
from gateway.client.transport import Link

def answer(request):
    if request.url.path == "/v1/models":
        return httpx.Response(200, json={{"data": [
            {{"id": "naming", "kind": "task", "root": "x", "schema": {{"type": "object"}}}}]}})
    choice = {{"message": {{"content": "{{}}"}}, "finish_reason": "stop"}}
    return httpx.Response(200, json={{"choices": [choice]}})

manager = ModelManager(Network(lambda target: Link(target, httpx.MockTransport(answer))))
with manager.use_model("naming") as model:
    assert model.generate_modeling("p") == {{}}
try:
    manager.configure_models_sync(base_model_path="a/b")
except InvalidArgument as error:
    print(error)
"""


LIGHT = (
    *("gateway", "httpx", "httpcore", "h11", "anyio", "sniffio", "certifi", "idna"),
    *("pydantic", "pydantic_core", "annotated_types", "typing_extensions", "typing_inspection"),
    *("jsonschema", "jsonschema_specifications", "referencing", "rpds", "attr", "attrs"),
)


def test_client_needs_nothing_but_its_light_dependencies() -> None:
    env = {"PYTHONPATH": str(ROOT), "LORA_GATEWAY_URL": URL, "PATH": os.environ["PATH"]}
    command = [sys.executable, "-c", ALONE.format(allowed=LIGHT)]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "a stack is started by the whole of lora-gateway, and yaml is not installed" in done.stdout


@pytest.mark.parametrize("ending", [b"\n\n", b"\r\n\r\n", b""])
def test_a_stream_is_cut_at_line_feeds_alone(ending: bytes) -> None:
    text = "one\u2028two\u0085three"
    event = json.dumps({"choices": [{"delta": {"content": text}}]}, ensure_ascii=False).encode()
    stream = b"data: " + event + b"\r\n\r\ndata: [DONE]" + ending

    def answer(_: httpx.Request) -> httpx.Response:
        return httpx.Response(200, content=iter([stream[:40], stream[40:]]))

    link = Link(Target(URL), httpx.MockTransport(answer))
    assert "".join(link.stream(Call("/v1/chat/completions", body={"model": "naming"}))) == text


def test_a_stream_in_a_loop_is_cut_at_line_feeds_alone() -> None:
    event = json.dumps({"choices": [{"delta": {"content": "one\u2028two"}}]}, ensure_ascii=False).encode()
    transport = httpx.MockTransport(
        lambda _: httpx.Response(200, content=b"data: " + event + b"\n\ndata: [DONE]\n\n")
    )

    async def read() -> list[str]:
        link = AsyncLink(Target(URL), transport)
        return [piece async for piece in link.stream(Call("/v1/chat/completions", body={"model": "naming"}))]

    assert asyncio.run(read()) == ["one\u2028two"]
