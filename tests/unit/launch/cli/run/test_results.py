"""`lora-gateway run`: what becomes of an answer."""

from __future__ import annotations

import json

import pytest

from launch.cli.run.input_lines import read_request
from launch.cli.run.results import answered, unanswered


def completion(*contents: object) -> bytes:
    choices = [{"message": {"content": content}, "finish_reason": "stop"} for content in contents]
    return json.dumps({"choices": choices, "model": "m@1", "usage": {"total_tokens": 3}}).encode()


@pytest.mark.parametrize(
    ("body", "output"),
    [
        (completion("Paris"), "Paris"),
        (completion('{"a": 1}'), {"a": 1}),
        (completion("{no json"), "{no json"),
        (completion("a", "b"), ["a", "b"]),
        (completion(None), {"content": None}),
        (b'{"choices": [{"text": "t", "finish_reason": "length"}]}', "t"),
    ],
)
def test_answer_becomes_an_output(body: bytes, output: object) -> None:
    outcome = answered(read_request(1, b"x", "m"), 200, body)
    record = json.loads(outcome.data)
    assert (record["output"], record["error"], outcome.reason) == (output, None, "")
    assert outcome.data.count(b"\n") == 1


def test_failures_say_why() -> None:
    request = read_request(1, b"x", "m")
    refused = answered(request, 400, b'{"error": {"message": "too long", "code": "c", "param": "p"}}')
    assert refused.reason == "400 c: too long"
    assert json.loads(refused.data)["error"] == {
        "status": 400,
        "message": "too long",
        "code": "c",
        "param": "p",
    }
    assert answered(request, 502, b"<html>").reason == "502 <html>"
    assert answered(request, 200, b"{}").reason == "the answer is not as it should be"
    assert unanswered(request, "gone").reason == "gone"


def test_openai_line_has_openais_result() -> None:
    line = b'{"custom_id": "c", "url": "/v1/completions", "body": {}}'
    good = json.loads(answered(read_request(1, line, "m"), 200, completion("x")).data)
    assert (good["custom_id"], good["response"]["status_code"], good["error"]) == ("c", 200, None)
    bad = json.loads(answered(read_request(1, line, "m"), 404, b'{"error": {"message": "no"}}').data)
    assert bad["response"] == {"status_code": 404, "body": {"error": {"message": "no"}}}
