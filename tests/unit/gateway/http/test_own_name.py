"""Without keys: this machine's own names and pages, and whatever is no page; with keys everybody."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from gateway.config.origins import Cors
from gateway.errors import Forbidden
from gateway.http.own_name import OwnName
from tests.support.stack import stack

Headers = list[tuple[bytes, bytes]]
JSON = (b"content-type", b"application/json; charset=utf-8")


def refusal(headers: Headers, *origins: str, method: bytes = b"POST", keyless: bool = True) -> str | None:
    try:
        OwnName(lambda: keyless, Cors(origins) if origins else None).check(method, headers)
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


@pytest.mark.anyio
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
    keys = {"team": {"sha256": hashlib.sha256(b"own").hexdigest()}}
    async with stack(tmp_path, keys=keys) as s:
        headers = {"host": "gateway.example", "authorization": "Bearer own"}
        assert (await s.client.get("/v1/models", headers=headers)).status_code == 200
