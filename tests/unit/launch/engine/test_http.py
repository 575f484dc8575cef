"""Questions to a server beside us: answers, refusals and silence told apart, and never through a proxy."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.errors import EngineFailure
from launch.engine.http import (
    EngineRefusal,
    ask,
    call,
    is_healthy,
    load_adapter,
    served_models,
    sleep_engine,
    tokens_done,
    unload_adapter,
    wake_engine,
)
from launch.machine.ports import free_port
from tests.fakes.http_server import Handler, serving
from tests.support.adapter_folders import adapter

METRICS = 'vllm:prompt_tokens_total{engine="0"} 3.0\nvllm:generation_tokens_total{engine="0"} 4.0\n'


class Server:
    def __init__(self) -> None:
        self.answers: dict[str, tuple[int, str]] = {}
        self.asked: list[tuple[str, str, Any]] = []
        self.url = ""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """One on loopback, while the environment names a proxy that is not there."""
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    state = Server()

    class Answers(Handler):
        def do_GET(self) -> None:
            body = self.body()
            state.asked.append((self.command, self.path, json.loads(body) if body else None))
            status, text = state.answers.get(self.path, (200, "{}"))
            self.answer(text.encode(), status)

        do_POST = do_GET

    with serving(Answers) as state.url:
        yield state


def test_answer_is_json_or_text(server: Server) -> None:
    server.answers = {"/j": (200, '{"a": 1}'), "/t": (200, "well")}
    assert call(f"{server.url}/j") == {"a": 1}
    assert call(f"{server.url}/t", {"x": 1}) == "well"
    assert server.asked == [("GET", "/j", None), ("POST", "/t", {"x": 1})]


def test_refusal_is_told_from_silence(server: Server) -> None:
    server.answers["/x"] = (409, "not now")
    with pytest.raises(EngineRefusal) as refused:
        ask(f"{server.url}/x")
    assert (refused.value.status, refused.value.text) == (409, "not now")
    with pytest.raises(EngineFailure, match="connection refused") as silent:
        ask(f"http://127.0.0.1:{free_port('x', '127.0.0.1', 42000)}/x")
    assert not isinstance(silent.value, EngineRefusal)


def test_a_server_that_takes_no_adapters_is_told_from_one_without_the_folder(server: Server) -> None:
    route = "/v1/load_lora_adapter"
    server.answers[route] = (404, '{"error": {"message": "Not Found", "code": 404}}')
    with pytest.raises(EngineFailure, match=r"takes no adapters \(start it with VLLM_ALLOW"):
        load_adapter(server.url, "naming@1", Path("/a"))
    server.answers[route] = (404, "The lora adapter 'naming@1' cannot be found at '/a'.")
    with pytest.raises(EngineRefusal, match="cannot be found"):
        load_adapter(server.url, "naming@1", Path("/a"))


def test_health_and_models(server: Server) -> None:
    assert is_healthy(server.url)
    server.answers["/health"] = (503, "")
    assert not is_healthy(server.url)
    server.answers["/v1/models"] = (200, '{"data": [{"id": "a", "root": "/a"}, {"x": 1}, 5]}')
    assert served_models(server.url) == {"a": "/a"}
    server.answers["/v1/models"] = (200, "[]")
    with pytest.raises(EngineFailure, match="no list of models"):
        served_models(server.url)


def test_adapter_that_is_there_already_or_not_any_more_is_no_error(server: Server) -> None:
    load_adapter(server.url, "a@1", Path("/a"))
    assert server.asked[-1] == ("POST", "/v1/load_lora_adapter", {"lora_name": "a@1", "lora_path": "/a"})
    server.answers["/v1/load_lora_adapter"] = (400, "has already been loaded")
    load_adapter(server.url, "a@1", Path("/a"))
    server.answers["/v1/load_lora_adapter"] = (400, "no such file")
    with pytest.raises(EngineRefusal):
        load_adapter(server.url, "a@1", Path("/a"))
    server.answers["/v1/unload_lora_adapter"] = (404, "x")
    unload_adapter(server.url, "a@1")
    server.answers["/v1/unload_lora_adapter"] = (500, "x")
    with pytest.raises(EngineRefusal):
        unload_adapter(server.url, "a@1")


def test_engine_is_told_of_experts_as_one_parameter(server: Server, tmp_path: Path) -> None:
    name = "model.layers.0.mlp.experts"
    load_adapter(server.url, "a@1", adapter(tmp_path, {f"{name}.lora_A.weight": (4, 4)}))
    assert server.asked[-1][2]["is_3d_lora_weight"] is True


def test_progress_is_of_both_counters_or_not_known(server: Server) -> None:
    server.answers["/metrics"] = (200, METRICS)
    assert tokens_done(server.url) == 7
    server.answers["/metrics"] = (200, "nothing")
    assert tokens_done(server.url) is None


def test_sleep_keeps_the_weights(server: Server) -> None:
    sleep_engine(server.url)
    wake_engine(server.url)
    assert [path for _, path, _ in server.asked] == ["/sleep?level=1", "/wake_up"]
