"""A stream that the engine gives up in the middle: its words stay in the log, clients hear the gateway's."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest

from tests.fakes.fake_engine import Answer
from tests.support.stack import TASKS, stack

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("both_ways")]
SECRET = "/opt/engine/core.py failed at tcp://10.0.0.7:5555"
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: %d\r\n\r\n"
WORDS = "The engine failed on this request; its log says why."


def given_up(first: bytes, fault: bytes, last: bytes) -> Answer:
    body = first + fault + last
    return Answer(raw=HEAD % len(body) + body)


CHAT = given_up(
    b'data: {"id":"x","choices":[{"index":0,"delta":{"content":"Par"}}]}\n\n',
    b'data: {"error": {"message": "%b", "type": "X", "code": 500}}\n\n' % SECRET.encode(),
    b"data: [DONE]\n\n",
)
NAMED = given_up(
    b'event: ping\ndata: {"type":"ping"}\n\n',
    b'event: error\ndata: {"type":"error","error":{"message":"%b"}}\n\n' % SECRET.encode(),
    b'event: message_stop\ndata: {"type":"message_stop"}\n\n',
)


@pytest.mark.parametrize(
    ("path", "asked", "answer"),
    [
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": "x"}]}, CHAT),
        ("/v1/completions", {"prompt": "x"}, CHAT),
        ("/v1/messages", {"messages": [{"role": "user", "content": "x"}], "max_tokens": 5}, NAMED),
        ("/v1/responses", {"input": "x"}, NAMED),
    ],
)
async def test_clients_hear_our_words(
    path: str, asked: dict[str, object], answer: Answer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with stack(tmp_path) as s:
        s.engine.answers[TASKS["naming"]] = answer
        with caplog.at_level(logging.ERROR):
            told = await s.client.post(path, json={"model": "naming", "stream": True, **asked})
        *_, last = (line for line in told.text.splitlines() if line.startswith("data:"))
        said = json.loads(last[5:])
        assert said.get("error", said)["message"] == WORDS
        assert SECRET not in told.text
        assert "10.0.0.7" not in str(told.headers)
        assert ("Par" in told.text) is (answer is CHAT)
        assert SECRET in caplog.text
        assert told.headers["x-request-id"] in caplog.text
        await s.at_rest()


async def test_a_pipelines_client_hears_them_too(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with stack(tmp_path) as s:
        s.engine.answers[TASKS["concept"]] = CHAT
        with caplog.at_level(logging.ERROR):
            told = await s.chat(model="concept-naming", stream=True)
        assert '"engine_error"' in told.text
        assert SECRET not in told.text
        assert SECRET in caplog.text
        await s.at_rest()
