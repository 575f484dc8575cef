"""What keeps tenants apart, as the engine and as clients see it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest

from gateway.config.secrets.state_secrets import ENGINE_KEY, made_secret
from tests.support.stack import Stack, key_of, stack

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("both_ways")]
ASKED: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {"messages": [{"role": "user", "content": "x"}]},
    "/v1/completions": {"prompt": "x"},
    "/v1/messages": {"messages": [{"role": "user", "content": "x"}], "max_tokens": 5},
    "/v1/responses": {"input": "x"},
    "/v1/embeddings": {"input": "x"},
}


KEYS = {
    "a": key_of("a", tenant="acme"),
    "a2": key_of("a2", tenant="acme"),
    "b": key_of("b", tenant="beta"),
    "c": key_of("c"),
}


async def ask(s: Stack, whose: str, path: str, model: str = "naming", **fields: object) -> httpx.Response:
    headers = {"authorization": f"Bearer {whose}"}
    return await s.client.post(path, headers=headers, json={"model": model, **ASKED[path], **fields})


def salts(s: Stack) -> list[Any]:
    return [one.json.get("cache_salt") for one in s.engine.received if one.method == "POST"]


@pytest.mark.parametrize("path", list(ASKED))
async def test_each_tenant_has_its_part_of_the_prefix_cache(tmp_path: Path, path: str) -> None:
    async with stack(tmp_path, keys=KEYS) as s:
        for whose in ("a", "a2", "b", "c"):
            await ask(s, whose, path)
        a, a2, b, c = salts(s)
        assert a == a2
        assert a != b
        assert c is None
        for whose in ("a", "b", "c"):
            await ask(s, whose, path, cache_salt=a)
        sent = salts(s)[4:]
        assert len({*sent, a, b}) == 5  # another's salt is worth nothing


async def test_without_keys_all_share_and_salts_pass(tmp_path: Path) -> None:
    async with stack(tmp_path) as s:
        await s.chat()
        await s.chat(cache_salt="mine")
        assert salts(s) == [None, "mine"]


async def test_a_pipelines_calls_have_their_tenants_salt(tmp_path: Path) -> None:
    async with stack(tmp_path, keys=KEYS) as s:
        await ask(s, "a", "/v1/chat/completions")
        for path in ("/v1/chat/completions", "/v1/messages", "/v1/responses"):
            told = await ask(s, "a", path, "concept-naming")
            assert told.status_code != 400, told.text
            assert "x-gateway-ignored" not in told.headers
        assert len(salts(s)) > 3
        assert len({*salts(s)}) == 1


async def test_our_engine_gets_its_key(tmp_path: Path) -> None:
    made = made_secret(tmp_path, ENGINE_KEY)
    async with stack(tmp_path) as s:
        assert (await s.chat()).status_code == 200
        assert (await s.client.get("/ready")).status_code == 200
        sent = {(one.method, one.headers.get("authorization")) for one in s.engine.received}
        assert sent == {("GET", f"Bearer {made}"), ("POST", f"Bearer {made}")}


async def test_a_clients_key_never_reaches_the_engine(tmp_path: Path) -> None:
    async with stack(tmp_path, keys=KEYS) as s:
        assert (await ask(s, "c", "/v1/chat/completions")).status_code == 200
        assert all("authorization" not in one.headers for one in s.engine.received)
