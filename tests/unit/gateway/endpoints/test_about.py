"""`/`: what answers here."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.stack import stack
from tests.unit.gateway.http.test_http_clients import CHAT, KEYS

pytestmark = pytest.mark.anyio


async def test_root_says_what_this_is(tmp_path: Path) -> None:
    async with stack(tmp_path, keys=KEYS) as s:
        answer = await s.client.get("/")
        document = answer.json()
        assert document["name"] == "lora-gateway"
        for key in ("documentation", "health", "ready"):
            assert (await s.client.get(document[key])).status_code == 200
        assert CHAT in document["endpoints"]
        assert "naming" not in answer.text
        head = await s.client.head("/")
        assert (head.status_code, head.content) == (200, b"")
        assert head.headers["content-length"] == answer.headers["content-length"]
