"""Pages of other origins: what a browser is told, on every kind of answer."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
from pydantic import ValidationError

from gateway.config.gateway_settings import GatewayConfig
from gateway.config.origins import EXPOSED, Cors, OwnName, tidy_origin
from gateway.endpoints.openapi.operation import HEADERS
from gateway.errors import Forbidden
from tests.fakes.fake_engine import Answer
from tests.support.stack import key_of, stack

pytestmark = pytest.mark.anyio
PAGE = "https://chat.example.com"
CHAT = "/v1/chat/completions"
KEY = "sk-admin"
KEYS = {"a": key_of(KEY, admin=True)}
ASKED = {
    "origin": PAGE,
    "access-control-request-method": "POST",
    "access-control-request-headers": "authorization,content-type,x-stainless-os",
}
ALLOWED = "access-control-allow-origin"


@pytest.mark.parametrize(
    ("origins", "origin", "told"),
    [
        ([PAGE], PAGE, PAGE),
        (["https://Chat.example.com:443/"], PAGE, PAGE),
        (["https://*.example.com"], PAGE, PAGE),
        (["*"], PAGE, "*"),
        (["http://localhost:*"], "http://localhost:3000", "http://localhost:3000"),
        (["app://obsidian.md", PAGE], "app://obsidian.md", "app://obsidian.md"),
        (["chrome-extension://*"], "chrome-extension://abcdef", "chrome-extension://abcdef"),
        (["null"], "null", "null"),
        ([PAGE], "https://other.example.com", None),
        ([PAGE], "http://chat.example.com", None),
        ([PAGE], "https://chat.example.com:8443", None),
        ([PAGE], "https://chat.example.com.evil.org", None),
        ([PAGE], "https://chatXexample.com", None),
        (["https://*.example.com"], "https://example.com", None),
        (["https://*.example.com"], "https://evil.org/.example.com", None),
        (["http://localhost:*"], "http://localhost.evil.org:80", None),
        ([PAGE], "null", None),
        ([], PAGE, None),
    ],
)
@pytest.mark.parametrize("express", [True, False])
async def test_preflight_and_answer_name_the_page_that_is_listed(
    tmp_path: Path, origins: list[str], origin: str, told: str | None, express: bool
) -> None:
    async with stack(tmp_path, cors_origins=origins, express=express) as s:
        asked = await s.client.options(CHAT, headers={**ASKED, "origin": origin})
        assert asked.headers.get(ALLOWED) == told
        if told is None:
            assert asked.status_code == 403
            assert "gateway.cors_origins" in asked.json()["error"]["message"]
        else:
            assert asked.status_code == 200
            assert asked.headers["access-control-allow-headers"] == ASKED["access-control-request-headers"]
            assert "POST" in asked.headers["access-control-allow-methods"]
            assert int(asked.headers["access-control-max-age"]) > 0
        body = {"model": "naming", "messages": [{"role": "user", "content": "cat"}]}
        answer = await s.client.post(CHAT, json=body, headers={"origin": origin})
        assert answer.status_code == 200
        assert answer.headers.get(ALLOWED) == told
        assert "access-control-allow-credentials" not in {*answer.headers, *asked.headers}
        varies = bool(origins) and "*" not in origins
        assert answer.headers.get("vary") == ("origin" if varies else None)


@pytest.mark.parametrize("express", [True, False])
async def test_errors_and_streams_can_be_read_by_the_page(tmp_path: Path, express: bool) -> None:
    async with stack(tmp_path, cors_origins=[PAGE], keys=KEYS, express=express) as s:
        head = {"origin": PAGE, "authorization": f"Bearer {KEY}"}
        fields = {"model": "naming", "messages": [{"role": "user", "content": "cat"}]}
        stream = await s.client.post(CHAT, json={**fields, "stream": True}, headers=head)
        s.engine.answers["base"] = Answer(status=500)
        for status, answer in (
            (200, stream),
            (401, await s.client.post(CHAT, json=fields, headers={"origin": PAGE})),
            (404, await s.client.post(CHAT, json={**fields, "model": "x"}, headers=head)),
            (404, await s.client.get("/nothing", headers=head)),
            (405, await s.client.get(CHAT, headers=head)),
            (415, await s.client.post(CHAT, content=b"x", headers={**head, "content-type": "text/plain"})),
            (500, await s.client.post(CHAT, json={**fields, "model": "base"}, headers=head)),
            (200, await s.client.get("/v1/models", headers=head)),
        ):
            assert answer.status_code == status
            assert answer.headers[ALLOWED] == PAGE
            exposed = answer.headers["access-control-expose-headers"].split(", ")
            assert {"x-request-id", "retry-after"} <= {*exposed}
        assert stream.text.endswith("data: [DONE]\n\n")


async def test_refusal_of_the_server_itself_can_be_read_by_the_page(tmp_path: Path) -> None:
    async with stack(tmp_path, cors_origins=[PAGE], receive_timeout_s=0.1) as s:
        head = f"POST {CHAT} HTTP/1.1\r\nhost: x\r\norigin: {PAGE}\r\ncontent-length: 9\r\n\r\n{{"
        answer = await s.raw(head.encode())
        assert answer.startswith(b"HTTP/1.1 408")
        assert f"{ALLOWED}: {PAGE}\r\n".encode() in answer


@pytest.mark.parametrize("origins", [["*"], [PAGE]])
async def test_administration_is_for_no_page(tmp_path: Path, origins: list[str]) -> None:
    async with stack(tmp_path, cors_origins=origins, keys=KEYS) as s:
        for path in ("/admin/status", "/admin/adapters", "/%61dmin/status"):
            asked = await s.client.options(path, headers=ASKED)
            assert asked.status_code == 403
            answer = await s.client.get(path, headers={"origin": PAGE, "authorization": f"Bearer {KEY}"})
            assert ALLOWED not in {*asked.headers, *answer.headers}


async def test_switched_off_nothing_is_said_of_origins(tmp_path: Path) -> None:
    async with stack(tmp_path) as s:
        answer = await s.client.get("/v1/models", headers={"origin": PAGE})
        assert not [name for name in answer.headers if name.startswith("access-control") or name == "vary"]
        plain = await s.client.options(CHAT, headers={"origin": PAGE})
        assert (plain.status_code, plain.headers["allow"]) == (405, "POST")


async def test_page_may_reach_a_gateway_on_its_own_machine(tmp_path: Path) -> None:
    async with stack(tmp_path, cors_origins=[PAGE]) as s:
        asked = await s.client.options(
            CHAT, headers={**ASKED, "access-control-request-private-network": "true"}
        )
        assert asked.headers["access-control-allow-private-network"] == "true"
        asked = await s.client.options(CHAT, headers=dict(list(ASKED.items())[:2]))
        told = asked.headers["access-control-allow-headers"]
        assert {"authorization", "x-api-key", "api-key", "content-type"} <= {*told.split(", ")}


def test_two_origins_in_one_request_are_none() -> None:
    cors = Cors([PAGE])
    assert not cors.allows(CHAT, [(b"origin", PAGE.encode()), (b"origin", PAGE.encode())])
    assert cors.allows(CHAT, [(b"origin", PAGE.upper().encode())])


@pytest.mark.parametrize(
    "origin",
    ["chat.example.com", "https://", "https://x/path", "https://a*b.org", "https://u@x", "", "a b://x"],
)
def test_what_is_no_origin_is_refused_with_the_form(origin: str) -> None:
    with pytest.raises(ValidationError, match=r"scheme://host\[:port\]"):
        GatewayConfig.model_validate({"cors_origins": [origin]})


def test_origins_are_kept_as_browsers_write_them() -> None:
    assert [tidy_origin(one) for one in ("HTTP://X:80/", "https://x:80", "http://[::1]:3000")] == [
        "http://x",
        "https://x:80",
        "http://[::1]:3000",
    ]


def test_every_header_of_the_gateways_own_is_exposed() -> None:
    assert set(HEADERS) <= set(EXPOSED.decode().split(", "))


Headers = list[tuple[bytes, bytes]]
JSON = (b"content-type", b"application/json; charset=utf-8")


def refusal(headers: Headers, *origins: str, method: bytes = b"POST", keyless: bool = True) -> str | None:
    try:
        OwnName(SimpleNamespace(required=not keyless), Cors(origins) if origins else None).check(
            method, dict(headers)
        )
    except Forbidden as refused:
        return refused.code
    return None


@pytest.mark.parametrize(
    ("host", "good"),
    [
        (b"localhost:8080", True),
        (b"127.0.0.1", True),
        (b"[::1]:8080", True),
        (b"app.localhost", True),
        (b"host.docker.internal:8080", True),
        (b"gpu-box.local.", True),
        (b"host.docker.internal.evil.example", False),
        (b"evil-internal.example", False),
        (b"192.168.1.7:8080", True),
        (b"gateway:8080", True),
        (b"", True),
        (b"evil.example", False),
        (b"EVIL.example.:8080", False),
        (b"127.0.0.1.evil.example", False),
        (b"localhost.evil.example:80", False),
        (b"[::1", False),
        (b"evil.example\xff", False),
    ],
)
def test_a_name_of_the_internet_that_leads_here_is_refused(host: bytes, good: bool) -> None:
    for method in (b"GET", b"POST"):
        assert refusal([(b"host", host)], method=method) == (None if good else "host_not_allowed")
        assert refusal([(b"host", host)], method=method, keyless=False) is None


def test_a_name_whose_pages_are_listed_may_lead_here() -> None:
    """As of a proxy on this machine, which has looked who comes."""
    assert refusal([(b"host", b"chat.example.com")], "https://chat.example.com") is None
    assert refusal([(b"host", b"chat.example.com:8080")], "http://chat.example.com:*") is None
    assert refusal([(b"host", b"other.example.com")], "https://chat.example.com") == "host_not_allowed"
    assert refusal([(b"host", b"any.example.com")], "*") is None


@pytest.mark.parametrize(
    ("origin", "good"),
    [
        (b"https://evil.example", False),
        (b"http://10.0.0.1", False),
        (b"null", False),
        (b"http://[", False),
        (b"http://localhost:3000", True),
        (b"http://127.0.0.1:8080", True),
        (b"chrome-extension://abc", True),
        (b"app://obsidian.md", True),
        (b"", True),
    ],
)
def test_a_page_that_is_not_listed_sends_nothing_that_a_browser_asks_no_leave_for(
    origin: bytes, good: bool
) -> None:
    head = [(b"host", b"localhost:8080"), (b"origin", origin)]
    for kind in (b"text/plain", b"multipart/form-data; boundary=x", b"application/x-www-form-urlencoded"):
        assert refusal([*head, (b"content-type", kind)]) == (None if good else "origin_not_allowed")
    assert refusal(head) == (None if good else "origin_not_allowed")
    assert refusal(head, method=b"GET") is None, "no page can read it"
    assert refusal([*head, JSON]) is None, "a browser asks first, and is told no"
    assert refusal(head, keyless=False) is None
    assert refusal(head, "*") is None


async def test_models_files_and_answers_are_for_no_page_of_the_internet(tmp_path: Path) -> None:
    body = json.dumps({"model": "naming", "messages": [{"role": "user", "content": "cat"}]}).encode()
    async with stack(tmp_path) as s:
        for path in ("/v1/models", "/v1/files", "/health", "/metrics", "/openapi.json"):
            answer = await s.client.get(path, headers={"host": "evil.example:8080"})
            assert (answer.status_code, answer.json()["error"]["code"]) == (403, "host_not_allowed"), path
        sent = b"content-length: %d\r\n\r\n%b" % (len(body), body)
        head = b"POST /v1/chat/completions HTTP/1.1\r\n"
        rebound = await s.raw(head + b"host: evil.example\r\ncontent-type: application/json\r\n" + sent)
        blind = await s.raw(head + b"host: 127.0.0.1\r\norigin: https://evil.example\r\n" + sent)
        for refused in (rebound, blind):
            assert refused.startswith(b"HTTP/1.1 403 ")
        assert s.engine.completions == []
        assert (await s.chat()).status_code == 200
    keys = {"team": key_of("own")}
    async with stack(tmp_path, keys=keys) as s:
        headers = {"host": "gateway.example", "authorization": "Bearer own"}
        assert (await s.client.get("/v1/models", headers=headers)).status_code == 200
