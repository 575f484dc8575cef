"""Keys: who gets in, what each may see and call, and that no key is repeated anywhere."""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path

import pytest
from starlette.types import Message, Scope

from gateway.admission.api_keys import CALLER, Caller, Principal
from gateway.config.document import Config, load_config
from gateway.errors import ConfigError
from tests.support.stack import Stack, stack

pytestmark = pytest.mark.anyio
KEY = "sk-lora-5f2c9e-the-whole-key"
LIMITED = "sk-lora-77aa-limited"
SPACED = "key with spaces; DROP TABLE keys"


def digest(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


KEYS = {
    "all": {"sha256": digest(KEY)},
    "limited": {"sha256": digest(LIMITED).upper(), "tasks": ["concept", "concept-naming"]},
    "spaced": {"sha256": digest(SPACED), "tasks": []},
}
BODY = b'{"model": "base", "messages": []}'


def head(*authorization: str, length: int = 1000) -> bytes:
    """A completion's head without its body."""
    lines = "".join(f"authorization: {value}\r\n" for value in authorization)
    return (
        f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{lines}"
        f"content-length: {length}\r\n\r\n"
    ).encode()


async def status(s: Stack, path: str, key: str | None = KEY, **body: object) -> int:
    headers = {} if key is None else {"authorization": f"Bearer {key}"}
    if body:
        return (await s.client.post(path, headers=headers, json=body)).status_code
    return (await s.client.get(path, headers=headers)).status_code


@pytest.mark.parametrize(
    "authorization",
    [
        [],
        [""],
        [KEY],
        ["Bearer"],
        ["Bearer "],
        ["Bearer unknown"],
        [f"Bearer{KEY}"],
        [f"Basic {KEY}"],
        [f"Bearer {KEY[:-1]}"],
        [f"Bearer {KEY}x"],
        [f"Bearer {KEY.upper()}"],
        [f"Bearer {digest(KEY)}"],
        [f"Bearer {KEY} {KEY}"],
        [f"Bearer {KEY},Bearer {KEY}"],
        ["Bearer ' OR 1=1 --"],
        ["Bearer {{7*7}}${jndi:ldap://x}"],
        ["Bearer " + "x" * 30_000],
        [f"Bearer {KEY}", f"Bearer {KEY}"],
        [f"Bearer {KEY}", "Bearer other"],
        ["Basic x", f"Bearer {KEY}"],
    ],
)
async def test_who_is_not_known_gets_401_before_the_body(tmp_path: Path, authorization: list[str]) -> None:
    """Nothing of the body is sent, so an answer shows that none was waited for."""
    async with stack(tmp_path, keys=KEYS) as s:
        answer = await s.raw(head(*authorization))
        assert answer.startswith(b"HTTP/1.1 401 ")
        assert b'"code":"invalid_api_key"' in answer
        assert b"\r\nwww-authenticate: Bearer\r\n" in answer
        assert KEY.encode() not in answer
        assert not s.engine.completions


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER", "Bearer  "])
async def test_scheme_is_read_in_any_case(tmp_path: Path, scheme: str) -> None:
    async with stack(tmp_path, keys=KEYS) as s:
        answer = await s.raw(head(f"{scheme} {KEY}", length=len(BODY)) + BODY)
        assert answer.startswith(b"HTTP/1.1 200 ")


async def test_limited_key_calls_and_sees_its_own_models(tmp_path: Path) -> None:
    async with stack(tmp_path, keys=KEYS) as s:
        headers = {"authorization": f"Bearer {LIMITED}"}
        listed = (await s.client.get("/v1/models", headers=headers)).json()["data"]
        assert [model["id"] for model in listed] == ["concept", "concept-naming"]
        chat = "/v1/chat/completions"
        assert await status(s, chat, LIMITED, model="concept", messages=[]) == 200
        assert await status(s, "/v1/models/concept", LIMITED) == 200
        for path, body in ((chat, {"model": "naming", "messages": []}), ("/v1/models/naming", None)):
            request = s.client.build_request("POST" if body else "GET", path, headers=headers, json=body)
            refused = await s.client.send(request)
            assert refused.status_code == 403
            error = refused.json()["error"]
            assert error["code"] == "permission_denied"
            assert error["message"].endswith("It may call: concept, concept-naming.")
        unknown = (await s.client.post(chat, headers=headers, json={"model": "namin"})).json()["error"]
        assert unknown["code"] == "model_not_found"
        assert "'naming'" not in unknown["message"]
        assert unknown["message"].endswith("Valid models: concept, concept-naming.")
        assert len(s.engine.completions) == 1


async def test_key_for_nothing_calls_nothing(tmp_path: Path) -> None:
    async with stack(tmp_path, keys=KEYS) as s:
        assert await status(s, "/v1/chat/completions", SPACED, model="base") == 403
        answer = await s.client.get("/v1/models", headers={"authorization": f"Bearer {SPACED}"})
        assert answer.json()["data"] == []


@pytest.mark.parametrize("public", [True, False])
async def test_metrics_need_a_key_unless_public(tmp_path: Path, public: bool) -> None:
    async with stack(tmp_path, keys=KEYS, public_metrics=public) as s:
        assert await status(s, "/metrics", None) == (200 if public else 401)
        assert await status(s, "/metrics", "wrong") == (200 if public else 401)
        assert await status(s, "/metrics") == 200
        assert await status(s, "/metrics", LIMITED) == (200 if public else 403)
        assert await status(s, "/health", None) == 200
        assert await status(s, "/v1/models", None) == 401


async def test_a_key_for_metrics_alone(tmp_path: Path) -> None:
    keys = {"scraper": {"sha256": digest(KEY), "tasks": [], "metrics": True}}
    async with stack(tmp_path, keys=keys) as s:
        assert await status(s, "/metrics") == 200
        assert await status(s, "/v1/chat/completions", model="base", messages=[]) == 403


@pytest.mark.parametrize(
    "line",
    [
        "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost/v1/models?",
        "POST /v1/chat/completions HTTP/1.1\r\nhost: x/health",
        "POST http://localhost/v1/chat/completions HTTP/1.1\r\nhost: /health",
        "POST http://localhost/v1/chat/completions?/health HTTP/1.1\r\nhost: x",
        "POST http://x:y@localhost/v1/chat/completions#/health HTTP/1.1\r\nhost: x",
        "POST /v1/%63hat/completions HTTP/1.1\r\nhost: x",
        "GET /v1/models HTTP/1.1\r\nhost: x/health?",
        "GET http://localhost/v1/models HTTP/1.1\r\nhost: x",
        "GET /v1/models/concept HTTP/1.1\r\nhost: x",
        "GET http://health/metrics HTTP/1.1\r\nhost: x",
    ],
)
async def test_only_the_path_decides_what_needs_a_key(tmp_path: Path, line: str) -> None:
    async with stack(tmp_path, keys=KEYS) as s:
        request = f"{line}\r\nconnection: close\r\ncontent-length: {len(BODY)}\r\n\r\n".encode() + BODY
        assert (await s.raw(request)).startswith(b"HTTP/1.1 401 ")
        assert not s.engine.completions


async def test_no_key_is_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with stack(tmp_path, keys=KEYS) as s:
        for key in (KEY, LIMITED, "sk-unknown"):
            await status(s, "/v1/chat/completions", key, model="naming", messages=[])
            await status(s, "/v1/models/nope", key)
        await s.engine.stop()
        await status(s, "/v1/chat/completions", KEY, model="naming", messages=[])
    said = "\n".join(record.getMessage() for record in caplog.records if record.name.startswith("gateway"))
    assert "engine" in said
    assert not any(secret in said for secret in (KEY, LIMITED, "sk-unknown", digest(KEY)))
    assert KEY not in repr(s.gateway.__dict__)


def load(folder: Path, text: str, env: dict[str, str] | None = None) -> Config:
    file = folder / "config.yaml"
    file.write_text("base: {model: some/model}\n" + text, encoding="utf-8")
    return load_config(file, env or {})


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "gateway.internal"])
def test_without_keys_only_this_machine_is_served(tmp_path: Path, host: str) -> None:
    with pytest.raises(ConfigError, match="lora-gateway keys new"):
        load(tmp_path, f"gateway: {{host: '{host}'}}")
    load(tmp_path, f"gateway: {{host: '{host}'}}", {"TEAM_A_KEY_SHA256": digest(KEY)})


def test_keys_come_from_the_environment(tmp_path: Path) -> None:
    env = {"TEAM_A_KEY_SHA256": digest(KEY), "OTHER_KEY_SHA256": f" {digest(LIMITED)}\n"}
    config = load(tmp_path, "keys: {team-a: {tasks: [base]}}", env)
    assert {name: (key.sha256, key.tasks) for name, key in config.keys.items()} == {
        "team-a": (digest(KEY), ["base"]),
        "other": (digest(LIMITED), None),
    }


@pytest.mark.parametrize(
    ("text", "env"),
    [
        (f"keys: {{team-a: {{sha256: {KEY}}}}}", {}),
        (f"keys: {{team-a: {KEY}}}", {}),
        (f"keys: {{team-a: {{sha256: [{KEY}]}}}}", {}),
        (f"keys: {KEY}", {}),
        (f"keys: [{KEY}]", {}),
        ("keys: {team-a: {}}", {"TEAM_A_KEY_SHA256": KEY}),
        ("", {"TEAM_A_KEY_SHA256": KEY}),
    ],
)
def test_key_given_for_its_digest_is_not_repeated(tmp_path: Path, text: str, env: dict[str, str]) -> None:
    with pytest.raises(ConfigError) as raised:
        load(tmp_path, text, env)
    assert "keys" in str(raised.value)
    assert KEY not in str(raised.value)
    assert KEY not in repr(raised.value.value)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (f"keys: {{a: {{sha256: {digest(KEY)}}}, b: {{sha256: {digest(KEY).upper()}}}}}", "the same key"),
        (f"keys: {{a: {{sha256: {digest(KEY)}, tasks: [bas]}}}}", "did you mean 'base'"),
        ("keys: {a: {}}", "required"),
        (f"keys: {{a/b: {{sha256: {digest(KEY)}}}}}", "letters"),
    ],
)
def test_mistaken_keys_are_named(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        load(tmp_path, text)


async def test_a_caller_in_the_process_needs_no_key_and_is_counted_by_its_origin(tmp_path: Path) -> None:
    """A batch calls the application itself; a client's headers cannot stand for it."""
    body = b'{"model": "concept", "messages": [{"role": "user", "content": "x"}]}'
    path = "/v1/chat/completions"
    sent: list[Message] = []

    async def receive() -> Message:
        raise AssertionError("what it asks stands with it")

    async def send(message: Message) -> None:
        sent.append(message)

    async with stack(tmp_path, keys=KEYS) as s:
        scope: Scope = {"type": "http", "method": "POST", "path": path}
        scope[CALLER] = Caller(Principal("limited", frozenset({"concept"})), "batch", b"r-1", body)
        await s.gateway(scope, receive, send)
        assert (sent[0]["status"], len(s.engine.completions)) == (200, 1)
        labels = ("adapter=concept@aaaaaaaaaaaa", "origin=batch", "status=200", "task=concept")
        assert s.samples()["requests_total", *labels] == 1
        headers = {"content-type": "application/json", CALLER: "x"}
        assert (await s.client.post(path, content=body, headers=headers)).status_code == 401
