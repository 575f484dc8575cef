"""`lora-gateway run`: lines to requests, and how a bad one is refused."""

from __future__ import annotations

import json

import pytest

from launch.cli.run.input_lines import BadLine, read_request
from tests.unit.launch.cli.run.test_command import Document

TERMS = {"id": "fruit", "terms": ["apple", {"term": "pear", "gloss": "a fruit"}]}


def user(text: str) -> Document:
    return {"model": "m", "messages": [{"role": "user", "content": text}]}


@pytest.mark.parametrize(
    ("line", "path", "body", "custom_id"),
    [
        ("plain words", "/v1/chat/completions", user("plain words"), None),
        ('"a string"', "/v1/chat/completions", user("a string"), None),
        ("[1, 2]", "/v1/chat/completions", user("[1,2]"), None),
        ("17", "/v1/chat/completions", user("17"), None),
        (json.dumps(TERMS), "/v1/chat/completions", user(json.dumps(TERMS, separators=(",", ":"))), "fruit"),
        (
            '{"messages": [], "seed": 1, "model": "x"}',
            "/v1/chat/completions",
            {"model": "m", "messages": [], "seed": 1},
            None,
        ),
        ('{"prompt": "p", "id": 7}', "/v1/completions", {"model": "m", "prompt": "p"}, "7"),
        (
            '{"input": ["a"], "max_tokens": 3}',
            "/v1/chat/completions",
            {**user('["a"]'), "max_tokens": 3},
            None,
        ),
        (
            '{"custom_id": "c", "url": "/v1/embeddings", "body": {"model": "x", "input": "t"}}',
            "/v1/embeddings",
            {"model": "m", "input": "t"},
            "c",
        ),
    ],
)
def test_line_becomes_a_request(line: str, path: str, body: Document, custom_id: str | None) -> None:
    request = read_request(3, f"{line}\n".encode(), "m")
    assert (request.path, json.loads(request.body), request.custom_id) == (path, body, custom_id)
    assert request.id.startswith("run-3-")


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (b'{"a": ', "not valid JSON"),
        (b"\xff\xfe", "not UTF-8"),
        (b'{"messages": [], "stream": true}', "stream"),
        (b'{"url": "/v1/chat/completions", "body": 3}', "no object"),
        (b'{"url": "/v1/images", "body": {}}', "known here"),
    ],
)
def test_bad_line_is_refused(line: bytes, says: str) -> None:
    with pytest.raises(BadLine, match=says):
        read_request(1, line, "m")


def test_request_is_another_with_another_line_or_model() -> None:
    one = read_request(1, b"cat\n", "m")
    assert read_request(1, b"  cat \r\n", "m").digest == one.digest
    assert read_request(1, b"dog\n", "m").digest != one.digest
    assert read_request(1, b"cat\n", "n").digest != one.digest
