"""What HTTP clients do of their own: keys in other headers, compressed bodies, marks, other paths."""

from __future__ import annotations

import gzip
import hashlib
import json
import zlib
from pathlib import Path

import pytest
import zstandard

from tests.support.stack import stack

pytestmark = pytest.mark.anyio


CHAT = "/v1/chat/completions"


KEY, OTHER = "sk-a-whole-key", "sk-of-another"


KEYS = {
    name: {"sha256": hashlib.sha256(key.encode()).hexdigest()} for name, key in (("a", KEY), ("b", OTHER))
}


BODY = json.dumps({"model": "naming", "messages": [{"role": "user", "content": "cat " * 50}]}).encode()


RAW_DEFLATE = zlib.compress(BODY)[2:-4]


JSON = {"content-type": "application/json"}


@pytest.mark.parametrize(
    ("head", "status"),
    [
        ([("api-key", KEY)], 200),
        ([("x-api-key", KEY)], 200),
        ([("api-key", ""), ("authorization", f"Bearer {KEY}")], 200),
        ([("api-key", KEY), ("authorization", "")], 200),
        ([("api-key", KEY), ("authorization", "Bearer")], 200),
        ([("api-key", KEY), ("authorization", "Basic dXNlcjpwYXNz")], 200),
        ([("api-key", "sk-ant"), ("x-api-key", KEY), ("authorization", "Bearer sk-ant-oat")], 200),
        ([("api-key", KEY), ("x-api-key", KEY), ("authorization", f"Bearer {KEY}")], 200),
        ([("api-key", KEY), ("authorization", f"Bearer {OTHER}")], 401),
        ([("api-key", KEY), ("api-key", KEY)], 401),
        ([("api-key", KEY), ("authorization", f"Bearer {KEY}"), ("authorization", "Bearer x")], 401),
        ([("api-key", ""), ("x-api-key", "")], 401),
        ([("api-key", f"Bearer {KEY}")], 401),
        ([("api-key", "unknown")], 401),
    ],
)
@pytest.mark.parametrize(
    "path", [CHAT, "/v1/messages", "/v1/models", "/v1/files", "/v1/responses/x", "/metrics"]
)
async def test_key_of_ours_counts_in_whatever_header(
    tmp_path: Path, path: str, head: list[tuple[str, str]], status: int
) -> None:
    async with stack(tmp_path, keys=KEYS) as s:
        if path in (CHAT, "/v1/messages"):
            body = {"model": "naming", "max_tokens": 5, "messages": [{"role": "user", "content": "cat"}]}
            answer = await s.client.post(path, json=body, headers=head)
        else:
            answer = await s.client.get(path, headers=head)
        found = 200 if path == "/v1/responses/x" and answer.status_code == 404 else answer.status_code
        assert found == status
        assert KEY not in answer.text


@pytest.mark.parametrize("express", [True, False])
@pytest.mark.parametrize(
    ("coding", "body"),
    [
        ("gzip", gzip.compress(BODY, mtime=0)),
        ("x-gzip", gzip.compress(BODY, mtime=0)),
        ("GZIP", gzip.compress(BODY[:20], mtime=0) + gzip.compress(BODY[20:], mtime=0) + b"\0\0"),
        ("deflate", zlib.compress(BODY)),
        ("deflate", RAW_DEFLATE),
        ("zstd", zstandard.compress(BODY)),
        ("identity", BODY),
        ("identity, gzip", gzip.compress(BODY, mtime=0)),
        ("", BODY),
    ],
)
async def test_compressed_body_is_taken(tmp_path: Path, coding: str, body: bytes, express: bool) -> None:
    async with stack(tmp_path, express=express) as s:
        head = {**JSON, "content-encoding": coding}
        answer = await s.client.post(CHAT, content=body, headers=head)
        assert answer.status_code == 200, answer.text
        assert b"cat " * 50 in s.engine.completions[-1].body


@pytest.mark.parametrize("coding", ["br", "gzip, deflate", "gzip, gzip", "compress", "x" * 500])
async def test_other_codings_are_415_and_name_what_is_taken(tmp_path: Path, coding: str) -> None:
    async with stack(tmp_path) as s:
        answer = await s.client.post(CHAT, content=BODY, headers={**JSON, "content-encoding": coding})
        assert answer.status_code == 415
        message = answer.json()["error"]["message"]
        assert coding[:80] in message
        assert "deflate, gzip, zstd" in message
        twice = [("content-encoding", "gzip"), ("content-encoding", "br"), *JSON.items()]
        assert (await s.client.post(CHAT, content=BODY, headers=twice)).status_code == 415


async def test_what_unpacks_to_more_than_a_body_may_have_is_413(tmp_path: Path) -> None:
    bomb = b'{"model": "naming", "user": "' + b" " * 20_000_000 + b'"}'
    async with stack(tmp_path, max_body_bytes=100_000) as s:
        for coding, body in (
            ("gzip", gzip.compress(bomb, mtime=0)),
            ("deflate", zlib.compress(bomb)),
            ("zstd", zstandard.compress(bomb)),
        ):
            answer = await s.client.post(CHAT, content=body, headers={**JSON, "content-encoding": coding})
            assert answer.status_code == 413, answer.text
            assert "unpacked" in answer.json()["error"]["message"]


@pytest.mark.parametrize("express", [True, False])
async def test_mark_before_a_body_is_no_part_of_it(tmp_path: Path, express: bool) -> None:
    async with stack(tmp_path, express=express) as s:
        assert (await s.chat(b"\xef\xbb\xbf" + BODY)).status_code == 200
        body = BODY.replace(b"naming", b"concept-naming").replace(b"cat " * 50, b'[\\"a\\", \\"b\\"]')
        assert (await s.chat(b"\xef\xbb\xbf" + body)).status_code != 400
        assert (await s.chat(b"\xef\xbb" + BODY)).status_code == 400


async def test_models_answer_with_a_slash_at_the_end_too(tmp_path: Path) -> None:
    async with stack(tmp_path) as s:
        for path in ("/v1/models", "/v1/models/naming"):
            plain, slash = await s.client.get(path), await s.client.get(f"{path}/")
            assert (slash.status_code, slash.json()) == (200, plain.json())
        assert (await s.client.get("/v1/models/nope/")).status_code == 404
