"""The environment's proxies: never on the way to our own machine, always free for an address beyond it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from gateway.client.calls import Call
from gateway.client.transport import AsyncLink, Link, Target
from gateway.config.loopback import is_loopback, may_use_proxy, without_proxies
from launch.bench.engine import load, stack
from launch.cli.demo.command import name_cluster
from launch.cli.demo.samples import Cluster
from launch.cli.run.requests import Gateway
from launch.engine.http import call, is_healthy, tokens_done
from launch.training.evaluate import Trial, evaluate
from launch.training.examples import Example
from tests.fakes.http_server import Handler, serving

CONCEPTS = '{"concepts": [{"name": "fruit", "definition": "eaten", "members": ["apple"]}]}'
ANSWER = {"data": [{"id": "base"}], "choices": [{"message": {"content": CONCEPTS}}]}
TEXT = b'vllm:prompt_tokens_total{a="b"} 3.0\nvllm:generation_tokens_total{a="b"} 4.0\n'


@dataclass
class Server:
    url: str = ""
    asked: list[str] = field(default_factory=list)


@contextmanager
def answering() -> Iterator[Server]:
    """Answers every request alike, and notes what it was asked: as a server its path, as a proxy a URL."""
    made = Server()

    class Alike(Handler):
        def do_GET(self) -> None:
            made.asked.append(self.path)
            self.body()
            self.answer(TEXT if self.path.endswith("/metrics") else json.dumps(ANSWER).encode())

        do_POST = do_GET

    with serving(Alike) as made.url:
        yield made


@pytest.fixture
def server() -> Iterator[Server]:
    with answering() as made:
        yield made


@pytest.fixture
def proxy(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """What http_proxy and its like name, in both spellings."""
    with answering() as made:
        for name in ("http_proxy", "https_proxy", "all_proxy"):
            monkeypatch.setenv(name, made.url)
            monkeypatch.setenv(name.upper(), made.url)
        yield made


def ask_as_client(url: str) -> object:
    link = Link(Target(url))
    try:
        return link.ask(Call("/v1/models"))
    finally:
        link.close()


def ask_in_a_loop(url: str) -> object:
    async def ask() -> object:
        link = AsyncLink(Target(url))
        try:
            return await link.ask(Call("/v1/models"))
        finally:
            await link.close()

    return asyncio.run(ask())


def ask_as_run(url: str) -> object:
    async def ask() -> object:
        gateway = Gateway(url, None, 1, 1)
        try:
            await gateway.check("base")
        finally:
            await gateway.close()
        return ANSWER

    return asyncio.run(ask())


def ask_as_evaluate(url: str) -> object:
    trial = Trial("naming", [Example("a prompt", CONCEPTS)], "", 8)
    _, runs = asyncio.run(evaluate(f"{url}/v1", [trial]))
    return len(runs)


CALLS: dict[str, tuple[Callable[[str], object], object]] = {
    "engine_http.call": (lambda url: call(f"{url}/v1/models"), ANSWER),
    "engine_http.call with a body": (lambda url: call(f"{url}/v1/completions", {"model": "base"}), ANSWER),
    "engine_http.is_healthy": (is_healthy, True),
    "engine_http.tokens_done": (tokens_done, 7.0),
    "demo.name_cluster": (lambda url: name_cluster(url, Cluster("one", ["apple"])).error, ""),
    "bench.engine_stack.post": (
        lambda url: json.loads(stack.post(f"{url}/v1/completions", "key", {})[1]),
        ANSWER,
    ),
    "client": (ask_as_client, ANSWER),
    "client in a loop": (ask_in_a_loop, ANSWER),
    "run": (ask_as_run, ANSWER),
    "evaluate": (ask_as_evaluate, 2),
}


@pytest.mark.parametrize("name", CALLS)
def test_a_call_to_loopback_meets_no_proxy(name: str, server: Server, proxy: Server) -> None:
    ask, answer = CALLS[name]
    assert ask(server.url) == answer
    assert server.asked
    assert not proxy.asked


@pytest.mark.parametrize("name", ["client", "client in a loop", "run", "evaluate"])
def test_a_gateway_beyond_loopback_is_reached_through_the_proxy(name: str, proxy: Server) -> None:
    ask, answer = CALLS[name]
    assert ask("http://gateway.example:8080") == answer
    assert proxy.asked[0].startswith("http://gateway.example:8080/v1/")


def test_the_benchmark_client_is_started_without_proxies(
    proxy: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    given: list[dict[str, str]] = []

    def refuse(env: dict[str, str], errors: object) -> None:
        given.append(env)
        raise NotImplementedError

    monkeypatch.setattr(load, "_start", refuse)
    with pytest.raises(NotImplementedError), load.running_client("key", tmp_path / "log"):
        pass
    assert given[0]["OPENAI_API_KEY"] == "key"
    assert not [name for name in given[0] if name.lower().endswith("_proxy")]


@pytest.mark.parametrize(
    ("host", "is_ours"),
    [
        ("127.0.0.1", True),
        ("127.8.0.1", True),
        ("::1", True),
        ("[::1]", True),
        ("::ffff:127.0.0.1", True),
        ("localhost", True),
        ("LocalHost.", True),
        ("gateway.localhost", True),
        ("localhost.example", False),
        ("10.0.0.1", False),
        ("::ffff:10.0.0.1", False),
        ("gateway.example", False),
        ("", False),
    ],
)
def test_loopback_is_known_by_its_name(host: str, is_ours: bool) -> None:
    assert is_loopback(host) is is_ours


def test_a_program_for_loopback_keeps_the_rest_of_its_environment() -> None:
    env = {"HTTP_PROXY": "a", "https_proxy": "b", "All_Proxy": "c", "NO_PROXY": "d", "PATH": "e"}
    assert without_proxies(env) == {"NO_PROXY": "d", "PATH": "e"}
    assert may_use_proxy("https://gateway.example/v1")
    assert not may_use_proxy("http://[::1]:8080/v1")
