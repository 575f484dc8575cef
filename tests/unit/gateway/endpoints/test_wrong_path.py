"""A path that there is not, and the one that was meant."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.endpoints.wrong_path import meant_path
from tests.support.stack import stack
from tests.unit.gateway.http.test_http_clients import CHAT

pytestmark = pytest.mark.anyio


ROUTES = [CHAT, "/v1/completions", "/v1/models", "/v1/models/{model:path}", "/tokenize", "/ready", "/health"]


@pytest.mark.parametrize(
    ("path", "meant"),
    [
        ("//v1/chat/completions", CHAT),
        ("/v1//models", "/v1/models"),
        ("/v1/v1/chat/completions", CHAT),
        ("/v1/v1/v1/models", "/v1/models"),
        ("/chat/completions", CHAT),
        ("/models", "/v1/models"),
        ("/models/naming", "/v1/models/naming"),
        ("/v1/chat/completions/", CHAT),
        ("/v1/chat/completion", CHAT),
        ("/api/v1/chat/completions", CHAT),
        ("/v1/chat/completions/v1/chat/completions", CHAT),
        ("/V1/Models", "/v1/models"),
        ("/v1/tokenize", "/tokenize"),
        ("/readyz", "/ready"),
        ("/nothing/of/the/kind", None),
        ("/", None),
        ("/" + "v1/" * 1000, None),
    ],
)
def test_wrong_path_is_told_the_right_one(path: str, meant: str | None) -> None:
    assert meant_path(path, ROUTES) == meant


async def test_answer_to_a_wrong_path_names_the_route(tmp_path: Path) -> None:
    async with stack(tmp_path) as s:
        for path in ("//v1/chat/completions", "/v1/v1/chat/completions", "/v1/chat/completions/"):
            answer = await s.raw(f"POST {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".encode())
            assert answer.startswith(b"HTTP/1.1 404")
            assert b"Did you mean '/v1/chat/completions'?" in answer
        assert "'/v1/models'" in (await s.client.get("/models")).text
        assert "'/v1/responses'" in (await s.client.post("/v1/responses/")).text
        assert (await s.client.post("/")).status_code == 404
        assert not s.engine.completions
