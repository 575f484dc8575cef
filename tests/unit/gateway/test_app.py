"""The application as a whole: which endpoint a request meets, and what is said where one fails."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest
from starlette.types import Message, Receive, Scope, Send

from gateway.app import Gateway
from gateway.config.document import Config
from gateway.dialects.registry import DIALECTS
from gateway.errors import ConfigError
from gateway.http.request_cycle import CLIENT
from gateway.metrics import recent
from tests.support.stack import config_of, snapshot_of, stack

pytestmark = pytest.mark.anyio


class Client:
    """Sends nothing, and keeps what it is sent."""

    def __init__(self) -> None:
        self.sent: list[Message] = []

    async def receive(self) -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(self, message: Message) -> None:
        if self.sent and message["type"] == "http.response.start":
            raise RuntimeError("the answer has begun")
        self.sent.append(message)

    @property
    def response_started(self) -> bool:
        return bool(self.sent)

    @property
    def status(self) -> int:
        return int(self.sent[0]["status"])

    @property
    def error(self) -> dict[str, Any]:
        body = b"".join(message.get("body", b"") for message in self.sent)
        error: dict[str, Any] = json.loads(body)["error"]
        return error


async def asked(gateway: Gateway, path: str, method: str = "POST", *headers: tuple[bytes, bytes]) -> Client:
    client = Client()
    scope: Scope = {
        "type": "http",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": list(headers),
        "client": ("127.0.0.1", 50000),
        "server": ("127.0.0.1", 8000),
        "extensions": {CLIENT: client},
    }
    await gateway(scope, client.receive, client.send)
    return client


@pytest.fixture
def gateway(tmp_path: Path) -> Gateway:
    return Gateway(config_of(tmp_path))


def failing(gateway: Gateway, path: str, *, midway: bool = False) -> None:
    """An endpoint with a fault of ours in it."""

    async def endpoint(scope: Scope, receive: Receive, send: Send) -> None:
        if midway:
            await send({"type": "http.response.start", "status": 200, "headers": []})
        raise ValueError("a secret of ours")

    gateway.express[path] = endpoint  # type: ignore[assignment]


async def test_every_engines_route_has_its_endpoint_before_the_router(gateway: Gateway) -> None:
    assert list(gateway.express) == [dialect.path.decode() for dialect in DIALECTS]
    met: list[str] = []

    async def router(scope: Scope, receive: Receive, send: Send) -> None:
        met.append(f"{scope['method']} {scope['path']}")

    gateway.starlette = router  # type: ignore[assignment]
    for method in ("POST", "GET"):
        await asked(gateway, "/v1/chat/completions", method)
    await asked(gateway, "/v1/models", "GET")
    assert met == ["GET /v1/chat/completions", "GET /v1/models"]


async def test_a_web_socket_is_closed(gateway: Gateway) -> None:
    client = Client()
    await gateway({"type": "websocket", "path": "/v1/chat/completions"}, client.receive, client.send)
    assert client.sent == [{"type": "websocket.close", "code": 1000}]


@pytest.mark.parametrize(
    ("path", "kind"), [("/v1/chat/completions", "internal_error"), ("/v1/messages", "api_error")]
)
async def test_a_fault_of_ours_is_a_500_in_the_apis_own_envelope(
    gateway: Gateway, path: str, kind: str
) -> None:
    failing(gateway, path)
    client = await asked(gateway, path)
    assert (client.status, client.error["type"]) == (500, kind)
    assert "secret" not in json.dumps(client.error)


async def test_a_fault_in_an_answer_that_has_begun_is_the_servers_to_break_off(gateway: Gateway) -> None:
    failing(gateway, "/v1/chat/completions", midway=True)
    with pytest.raises(Exception, match="gateway"):
        await asked(gateway, "/v1/chat/completions")


async def test_a_gateway_that_ends_turns_away_what_changes_something_and_still_tells(
    gateway: Gateway,
) -> None:
    gateway.drain.begun = True
    away = await asked(gateway, "/v1/chat/completions")
    assert (away.status, away.error["code"]) == (503, "shutting_down")
    assert (await asked(gateway, "/v1/messages")).error["type"] == "overloaded_error"
    assert (await asked(gateway, "/v1/models", "GET")).status == 200


async def test_a_page_may_call_where_its_origin_is_listed(tmp_path: Path) -> None:
    page = ((b"origin", b"https://a.example"), (b"access-control-request-method", b"POST"))
    gateway = Gateway(config_of(tmp_path, cors_origins=["https://a.example"]))
    allowed = await asked(gateway, "/v1/chat/completions", "OPTIONS", *page)
    assert allowed.status == 200
    refused = await asked(gateway, "/admin/status", "OPTIONS", *page)
    assert (refused.status, refused.error["code"]) == (403, "origin_not_allowed")
    closed = await asked(Gateway(config_of(tmp_path)), "/v1/chat/completions", "OPTIONS", *page)
    assert closed.status == 403
    assert "gateway.cors_origins" in closed.error["message"]
    nobodys = ((b"origin", b""), page[1])
    assert (await asked(gateway, "/v1/chat/completions", "OPTIONS", *nobodys)).status == 405


async def test_a_worker_that_ends_leaves_its_last_requests_to_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recent, "WITHIN_S", 60.0)
    async with stack(tmp_path) as s:
        await s.chat()
        shown = s.gateway.metrics.recent
        assert not shown.latest()
    assert [one.task for one in shown.latest()] == ["naming"]


async def test_another_configuration_comes_into_force_whole_or_not_at_all(tmp_path: Path) -> None:
    gateway = Gateway(config_of(tmp_path))
    document = config_of(tmp_path).model_dump(by_alias=True)
    document["pipelines"]["concept-naming"]["stages"][0]["prompt"] = "{{ nothing }}"
    with pytest.raises(ConfigError):
        gateway._prepare(Config.model_validate(document))
    assert gateway.replicas.config.models == config_of(tmp_path).models
    document["pipelines"] = {}
    document["tasks"]["fresh"] = {"adapter": str(tmp_path / "fresh")}
    commit = gateway._prepare(Config.model_validate(document))
    assert set(gateway._pipelines.pipelines) == {"concept-naming"}  # nothing yet
    with pytest.raises(KeyError):
        gateway.admission.gates["fresh"]
    commit()
    assert not gateway._pipelines.pipelines
    assert gateway.admission.gates["fresh"].max_in_flight > 0


async def test_pipelines_that_stand_are_not_compiled_anew(tmp_path: Path) -> None:
    gateway = Gateway(config_of(tmp_path))
    compiled = gateway._pipelines.pipelines
    gateway._prepare(config_of(tmp_path, keys={"ci": {"sha256": "0" * 64}}))()
    assert gateway._pipelines.pipelines is compiled
    document = config_of(tmp_path).model_dump(by_alias=True)
    document["tasks"]["naming"]["system"] = "Name it."
    gateway._prepare(Config.model_validate(document))()
    assert gateway._pipelines.pipelines["concept-naming"].last.task_system == "Name it."


def test_a_default_that_an_api_has_no_word_for_is_said_where_tasks_change(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    document = config_of(tmp_path).model_dump(by_alias=True)
    document["tasks"]["naming"]["defaults"] = {"top_k": 5, "min_p": 0.1, "max_token": 9}
    with caplog.at_level(logging.WARNING, "gateway.app"):
        gateway = Gateway(Config.model_validate(document))
        document["keys"] = {"ci": {"sha256": "0" * 64}}
        gateway._prepare(Config.model_validate(document))()
    assert [record.getMessage() for record in caplog.records] == [
        "tasks.naming.defaults.max_token: no API has such a parameter, so no request gets it; did you mean "
        "'max_tokens'?",
        "tasks.naming.defaults: /v1/messages has no min_p, so it is left out there",
    ]


async def test_a_snapshot_reaches_the_table(tmp_path: Path) -> None:
    config = config_of(tmp_path)
    gateway = Gateway(config)
    assert gateway.replicas.table.find("naming").adapter_id is None
    gateway.replicas.apply(snapshot_of(config, url="http://127.0.0.1:1", state="ready", started_at=1.0))
    assert gateway.replicas.table.find("naming").adapter_id == "naming@bbbbbbbbbbbb"
