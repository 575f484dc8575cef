"""A streamed chat, piece by piece."""

from __future__ import annotations

import json

import httpx
import pytest

from gateway.errors import ConfigError
from launch.cli.chat.answers import ChatClient, ChatFailed, pieces_of


def event(**delta: object) -> str:
    return "data: " + json.dumps({"choices": [{"index": 0, "delta": delta, "finish_reason": None}]})


def client(answer: httpx.Response | Exception) -> ChatClient:
    def answered(_: httpx.Request) -> httpx.Response:
        if isinstance(answer, Exception):
            raise answer
        return answer

    return ChatClient("http://gateway.test", "key", httpx.MockTransport(answered))


def test_pieces_come_in_order_until_the_end() -> None:
    lines = [
        event(role="assistant"),
        "",
        ": beat",
        event(content="ap"),
        event(content="ple"),
        "data: [DONE]",
        "x",
    ]
    assert list(pieces_of(lines)) == ["ap", "ple"]


def test_an_answer_that_was_cut_says_so() -> None:
    cut = 'data: {"choices": [{"delta": {"content": "ap"}, "finish_reason": "length"}]}'
    assert list(pieces_of([cut, "data: [DONE]"])) == ["ap", " […]"]


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ([event(content="a")], "broke off"),
        (['data: {"error": {"message": "no more"}}'], "no more"),
        (["data: {"], "cannot be read"),
    ],
)
def test_what_is_not_whole_is_no_answer(lines: list[str], said: str) -> None:
    with pytest.raises(ChatFailed, match=said):
        list(pieces_of(lines))


def test_a_refusal_is_told_in_its_own_words() -> None:
    refused = client(httpx.Response(429, json={"error": {"message": "too many"}}))
    with pytest.raises(ChatFailed, match="too many"), refused.ask("naming", []):
        pass


def test_the_models_that_may_be_asked() -> None:
    assert client(httpx.Response(200, json={"data": [{"id": "base"}]})).models() == ["base"]


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (httpx.ConnectError("refused"), "lora-gateway up"),
        (httpx.Response(401, json={"error": {"message": "a key is needed"}}), "a key is needed"),
        (httpx.Response(200, text="<html>"), "list of models"),
    ],
)
def test_what_is_no_gateway_is_said_before_the_talk(answer: httpx.Response | Exception, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        client(answer).models()
