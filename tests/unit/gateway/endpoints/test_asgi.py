"""Bodies while they come: who may not call is refused first, and all of them together are bounded."""

from __future__ import annotations

import asyncio
import gzip
import json
import mmap
from pathlib import Path

import pytest

from gateway.endpoints.administration.commands import MAX_BODY_BYTES as ADMIN_BYTES
from gateway.endpoints.asgi import MAPPED_FROM_BYTES
from gateway.endpoints.batches.batches import MAX_BODY_BYTES as BATCH_BYTES
from gateway.ui.page import MOST_SIGN_IN_BYTES
from tests.support.stack import key_of, stack
from tests.support.waiting import eventually

pytestmark = pytest.mark.anyio
NOTHING = {
    "nothing": key_of("none", tasks=[]),
    "boss": key_of("boss", role="admin"),
}
LARGE = json.dumps(
    {"model": "naming", "messages": [{"role": "user", "content": "cat"}], "user": "u" * 800_000}
).encode()
HEAD = b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"


def whole(body: bytes, more: bytes = b"") -> bytes:
    return HEAD + more + b"content-length: %d\r\n\r\n" % len(body) + body


@pytest.mark.parametrize("sent", [b"", b"x" * 200, b"x" * 200_000], ids=len)
async def test_a_key_that_may_call_nothing_is_refused_before_its_body_is_here(
    tmp_path: Path, sent: bytes
) -> None:
    async with stack(tmp_path, keys=NOTHING) as running:
        reader, writer = await asyncio.open_connection("127.0.0.1", running.port)
        writer.write(HEAD + b"authorization: Bearer none\r\ncontent-length: 10000000\r\n\r\n" + sent)
        answer = await reader.readuntil(b"}}")
        assert answer.startswith(b"HTTP/1.1 403 ")
        assert b"may call no model" in answer
        writer.transport.abort()


SMALL = {
    b"/ui/api/session": (b"", MOST_SIGN_IN_BYTES),
    b"/v1/batches": (b"authorization: Bearer none\r\n", BATCH_BYTES),
    b"/admin/keys": (b"authorization: Bearer boss\r\n", ADMIN_BYTES),
}
"""Where no body need be large: whose request, and the most that it may have."""


@pytest.mark.parametrize("path", SMALL)
@pytest.mark.parametrize("sent", ["a length", "chunks", "a coding"])
async def test_where_no_body_need_be_large_none_is_kept(tmp_path: Path, path: bytes, sent: str) -> None:
    """Nobody counts what they hold together: each of a thousand stalled ones would be 10 MB."""
    authorization, most_bytes = SMALL[path]
    packed = gzip.compress(b" " * 10 * most_bytes)
    head = b"POST " + path + b" HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n" + authorization
    rest = {
        "a length": b"content-length: 10000000\r\n\r\n{",
        "chunks": b"transfer-encoding: chunked\r\n\r\n989680\r\n" + b" " * (most_bytes + 1),
        "a coding": b"content-encoding: gzip\r\ncontent-length: %d\r\n\r\n" % len(packed) + packed,
    }
    async with stack(tmp_path, keys=NOTHING) as running:
        reader, writer = await asyncio.open_connection("127.0.0.1", running.port)
        writer.write(head + rest[sent])
        answer = await reader.readuntil(b"}}")
        assert answer.startswith(b"HTTP/1.1 413 "), answer
        assert b"%d bytes" % most_bytes in answer
        writer.transport.abort()


async def test_a_small_body_that_stalls_is_given_up_too(tmp_path: Path) -> None:
    head = b"POST /ui/api/session HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
    async with stack(tmp_path, keys=NOTHING, body_idle_timeout_s=0.05) as running:
        assert b"HTTP/1.1 408 " in await running.raw(
            head + b"connection: close\r\ncontent-length: 9\r\n\r\n{"
        )


async def test_of_azures_paths_the_model_is_judged_before_the_body(tmp_path: Path) -> None:
    path = b"POST /openai/deployments/namng/chat/completions?api-version=1 HTTP/1.1\r\nhost: x\r\n"
    async with stack(tmp_path) as running:
        reader, writer = await asyncio.open_connection("127.0.0.1", running.port)
        writer.write(path + b"content-type: application/json\r\ncontent-length: 10000000\r\n\r\n{")
        answer = await reader.readuntil(b"}}")
        assert answer.startswith(b"HTTP/1.1 404 ")
        assert b"naming" in answer
        writer.transport.abort()


async def test_a_large_body_waits_for_those_before_it_and_is_served_then(tmp_path: Path) -> None:
    """All bodies together are bounded; a small one does not wait for it."""
    async with stack(tmp_path, max_held_body_bytes=1_000_000) as running:
        _, stalled = await asyncio.open_connection("127.0.0.1", running.port)
        stalled.write(whole(LARGE)[:300_000])
        bodies = running.gateway.bodies
        await eventually(lambda: bodies.held_bytes == len(LARGE))
        waiting = asyncio.ensure_future(running.chat(LARGE))
        await eventually(lambda: len(bodies._waiting) == 1)
        assert (await running.chat()).status_code == 200
        assert not waiting.done()
        stalled.transport.abort()
        assert (await waiting).status_code == 200
        await eventually(lambda: bodies.held_bytes == 0)


@pytest.mark.parametrize("large", [True, False])
async def test_a_body_of_megabytes_goes_on_as_it_came(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, large: bool
) -> None:
    """Its memory is in large pages where the system has any."""
    if not large:
        monkeypatch.setattr(mmap, "MADV_HUGEPAGE", -1)
    messages = [{"role": "user", "content": "".join(map(str, range(800_000)))}]
    async with stack(tmp_path) as running:
        body = json.dumps({"model": "base", "messages": messages}).encode()
        assert len(body) > MAPPED_FROM_BYTES
        assert (await running.chat(body)).status_code == 200
        assert running.engine.completions[-1].json["messages"] == messages


async def test_a_body_that_stalls_is_given_up(tmp_path: Path) -> None:
    async with stack(tmp_path, body_idle_timeout_s=0.05) as running:
        reader, writer = await asyncio.open_connection("127.0.0.1", running.port)
        writer.write(whole(LARGE)[:300_000])
        answer = await reader.readuntil(b"}}")
        assert answer.startswith(b"HTTP/1.1 408 ")
        writer.transport.abort()
        await eventually(lambda: running.gateway.bodies.held_bytes == 0)
        assert (await running.chat(LARGE)).status_code == 200


async def test_a_body_without_a_length_is_counted_as_the_largest_until_it_is_here(tmp_path: Path) -> None:
    async with stack(tmp_path, max_body_bytes=900_000) as running:
        reader, writer = await asyncio.open_connection("127.0.0.1", running.port)
        chunks = [LARGE[at : at + 100_000] for at in range(0, len(LARGE), 100_000)]
        writer.write(HEAD + b"transfer-encoding: chunked\r\n\r\n")
        for chunk in chunks:
            writer.write(b"%x\r\n%b\r\n" % (len(chunk), chunk))
        await eventually(lambda: running.gateway.bodies.held_bytes == 900_000)
        writer.write(b"0\r\n\r\n")
        assert (await reader.readline()).startswith(b"HTTP/1.1 200 ")
        writer.transport.abort()
        await eventually(lambda: running.gateway.bodies.held_bytes == 0)


async def test_a_tenants_keys_hold_no_more_together_than_one_key(tmp_path: Path) -> None:
    keys = {
        name: key_of(name, tenant=tenant)
        for name, tenant in (("one", "acme"), ("two", "acme"), ("other", "beta"))
    }
    async with stack(tmp_path, keys=keys, max_held_body_bytes=2 * len(LARGE)) as running:
        stalled = []
        for name in ("one", "two"):
            _, writer = await asyncio.open_connection("127.0.0.1", running.port)
            writer.write(HEAD + f"authorization: Bearer {name}\r\n".encode())
            writer.write(b"content-length: %d\r\n\r\n%b" % (len(LARGE), LARGE[:300_000]))
            stalled.append(writer)
        bodies = running.gateway.bodies
        await eventually(lambda: (bodies.held_bytes, len(bodies._waiting)) == (len(LARGE), 1))
        running.client.headers["authorization"] = "Bearer other"
        assert (await running.chat(LARGE)).status_code == 200
        for writer in stalled:
            writer.transport.abort()
        await eventually(lambda: (bodies.held_bytes, len(bodies._waiting)) == (0, 0))
