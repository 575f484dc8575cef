"""Media that a conversation names by address are refused before the engine could fetch them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from gateway.dialects.chat import history
from gateway.dialects.chat.dialect import CHAT
from gateway.dialects.dialect import Dialect
from gateway.dialects.messages.dialect import MESSAGES
from gateway.dialects.parameters import Limits
from gateway.dialects.request_body import SEARCHED_BELOW_BYTES, decode_body
from gateway.dialects.responses.dialect import RESPONSES
from gateway.dialects.tokens.dialect import EMBEDDINGS, TOKENIZE
from gateway.errors import InvalidRequest
from tests.support.stack import config_of

INNER = "http://169.254.169.254/latest/meta-data"
DATA = "data:image/png;base64,aGk="


def check(folder: Path, dialect: Dialect, body: bytes, hosts: Sequence[str] = ()) -> None:
    config = config_of(folder)
    bounds = config.gateway.model_copy(update={"media_hosts": list(hosts)})
    dialect.check_fields(
        decode_body(body), Limits(config.model_copy(update={"gateway": bounds}), lambda: 2048)
    )


def request(dialect: Dialect, key: str, value: Any) -> str:
    required = {"max_tokens": 5} if dialect is MESSAGES else {}
    return json.dumps({"model": "m", **required, key: value})


def parts(*content: Any, role: str = "user") -> list[Any]:
    return [{"role": role, "content": list(content)}]


def chat(url: str) -> list[Any]:
    return parts({"type": "text", "text": "see"}, {"type": "image_url", "image_url": {"url": url}})


IMAGE = {"type": "image", "source": {"type": "url", "url": INNER}}
INPUT_IMAGE = {"type": "input_image", "image_url": INNER}
SENT: list[tuple[Dialect, str, Any]] = [
    (CHAT, "messages", chat(INNER)),
    (CHAT, "messages", parts({"type": "image_url", "image_url": INNER})),
    (CHAT, "messages", parts({"image_url": {"url": INNER}})),
    (CHAT, "messages", parts({"type": "video_url", "video_url": {"url": INNER}})),
    (CHAT, "messages", parts({"type": "audio_url", "audio_url": {"url": "file:///etc/passwd"}}, role="tool")),
    (CHAT, "messages", parts({"type": "image_url", "image_url": {"url": "//x"}})),
    (TOKENIZE, "messages", chat(INNER)),
    (EMBEDDINGS, "messages", chat(INNER)),
    (EMBEDDINGS, "input", chat(INNER)),
    (RESPONSES, "input", parts(INPUT_IMAGE)),
    (RESPONSES, "input", parts({"type": "input_file", "file_url": INNER})),
    (RESPONSES, "input", [{"type": "function_call_output", "call_id": "1", "output": [INPUT_IMAGE]}]),
    (MESSAGES, "messages", parts(IMAGE)),
    (MESSAGES, "messages", parts({"type": "tool_result", "tool_use_id": "1", "content": [IMAGE]})),
]
CALL = {"id": "1", "type": "function", "function": {"name": "get", "arguments": json.dumps({"url": INNER})}}
USE = {"type": "tool_use", "id": "1", "name": "get", "input": {"url": INNER, "image_url": INNER}}
FOUND = {"type": "search_result", "source": INNER, "title": "t", "content": [{"type": "text", "text": "x"}]}
CITED = {"type": "output_text", "text": "x", "annotations": [{"type": "url_citation", "url": INNER}]}
SAID: list[tuple[Dialect, str, Any]] = [
    (CHAT, "messages", chat(DATA)),
    (CHAT, "messages", [{"role": "user", "content": f"what is at {INNER}?"}]),
    (CHAT, "messages", parts({"type": "text", "text": f'{{"image_url": "{INNER}"}}'})),
    (CHAT, "messages", [{"role": "user", "content": ["a url", "another"]}]),
    (CHAT, "messages", [{"role": "assistant", "content": None, "tool_calls": [CALL]}]),
    (RESPONSES, "input", f"what is at {INNER}?"),
    (RESPONSES, "input", [{"role": "assistant", "type": "message", "content": [CITED]}]),
    (MESSAGES, "messages", parts(USE, role="assistant")),
    (MESSAGES, "messages", parts(FOUND)),
    (MESSAGES, "messages", parts({"type": "image", "source": {"type": "base64", "data": "aGk="}})),
    (CHAT, "messages", parts({"type": "text", "text": "see the url", "source": ["a.pdf"], "content": 5})),
]


@pytest.mark.parametrize(("dialect", "key", "value"), SENT, ids=lambda one: getattr(one, "name", None))
def test_an_address_is_refused_with_its_place(dialect: Dialect, key: str, value: Any, tmp_path: Path) -> None:
    body = request(dialect, key, value)
    for text in (body, body.replace("url", "u\\u0072l")):
        with pytest.raises(InvalidRequest, match="nothing is fetched from") as refused:
            check(tmp_path, dialect, text.encode())
        assert refused.value.param is not None
        assert refused.value.param.startswith(f"{key}[0].")
        assert "169.254" not in refused.value.message


@pytest.mark.parametrize("key", ["messages", "input"])
def test_of_several_conversations_each_is_looked_at(key: str, tmp_path: Path) -> None:
    said = [{"role": "user", "content": "a url"}]
    with pytest.raises(InvalidRequest, match="nothing is fetched from") as refused:
        check(tmp_path, EMBEDDINGS, request(EMBEDDINGS, key, [said, chat(INNER)]).encode())
    assert refused.value.param == f"{key}[1][0].content[1]"
    fields = decode_body(request(EMBEDDINGS, key, [[{"role": "human", "content": "a"}], said]).encode())
    EMBEDDINGS.check_fields(fields, Limits(config_of(tmp_path), lambda: 2048))
    assert json.loads(bytes(fields[key])) == [[{"role": "user", "content": "a"}], said]
    with pytest.raises(InvalidRequest, match="max_sequences"):
        check(tmp_path, EMBEDDINGS, request(EMBEDDINGS, key, [said] * 5000).encode())


@pytest.mark.parametrize(
    "value", ["a url", ["a url", "{url}"] * 2000, [[1, 2]], [1] * 40_000, [[1] * 40_000], [], [{"url": 1}]]
)
def test_texts_and_tokens_to_be_embedded_are_left_alone(value: Any, tmp_path: Path) -> None:
    fields = decode_body(request(EMBEDDINGS, "input", value).encode())
    before = {**fields}
    assert EMBEDDINGS.check_fields(fields, Limits(config_of(tmp_path), lambda: 2048)) == []
    assert fields == before


@pytest.mark.parametrize(("dialect", "key", "value"), SENT, ids=lambda one: getattr(one, "name", None))
def test_a_listed_host_is_taken(dialect: Dialect, key: str, value: Any, tmp_path: Path) -> None:
    body = request(dialect, key, value)
    for url in (INNER, "file:///etc/passwd", "//x"):
        body = body.replace(url, "https://images.example.com/a.png")
    check(tmp_path, dialect, body.encode(), ["images.example.com"])


@pytest.mark.parametrize(("dialect", "key", "value"), SAID, ids=lambda one: getattr(one, "name", None))
def test_what_is_only_said_is_left_alone(dialect: Dialect, key: str, value: Any, tmp_path: Path) -> None:
    check(tmp_path, dialect, request(dialect, key, value).encode())


@pytest.mark.parametrize("name", ["image_url", "image_\\u0075rl"])
def test_an_address_is_found_in_a_long_conversation(name: str, tmp_path: Path) -> None:
    said = "x" * SEARCHED_BELOW_BYTES
    content = f'[{{"type":"text","text":"{said}"}},{{"{name}":"{INNER}"}}]'
    with pytest.raises(InvalidRequest, match="nothing is fetched from"):
        check(tmp_path, CHAT, f'{{"model":"m","messages":[{{"role":"user","content":{content}}}]}}'.encode())


def test_a_long_list_of_something_else_is_the_engines_to_judge(tmp_path: Path) -> None:
    body = f'{{"model":"m","messages":[{{"role":"user","content":[{"5," * SEARCHED_BELOW_BYTES}5]}}]}}'
    check(tmp_path, CHAT, body.encode())


def test_what_cannot_be_looked_through_is_refused(tmp_path: Path) -> None:
    long = "x" * SEARCHED_BELOW_BYTES
    for content in ('[[], "url"]', '[{"content": [5, "url"]}]', f'[[], "{long}url"]'):
        body = f'{{"model":"m","messages":[{{"role":"user","content":{content}}}]}}'
        with pytest.raises(InvalidRequest, match="list messages"):
            check(tmp_path, CHAT, body.encode())


def test_a_long_conversation_of_texts_alone_is_decoded_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    says = {"role": "user", "content": "x" * SEARCHED_BELOW_BYTES}
    searched: list[str] = []
    monkeypatch.setattr(history, "marked_list", lambda key, *_: searched.append(key))
    check(tmp_path, CHAT, request(CHAT, "messages", [says]).encode())
    assert not searched
    for other in (
        {"role": "human", "content": "y"},
        {**says, "name": None},
        {"role": "user", "content": [says]},
    ):
        check(tmp_path, CHAT, request(CHAT, "messages", [says, other]).encode())
    assert len(searched) == 3


@pytest.mark.parametrize(
    ("dialect", "key"),
    [(CHAT, "messages"), (RESPONSES, "input"), (MESSAGES, "messages"), (TOKENIZE, "messages")],
)
@pytest.mark.parametrize("last", [{"role": "user", "content": "a"}, {"role": "user", "content": []}, 5])
def test_more_turns_than_the_context_has_tokens_are_not_the_engines_to_read(
    tmp_path: Path, dialect: Dialect, key: str, last: object
) -> None:
    """It took 28 s of its loop for 9 MB of them."""
    turns: list[object] = [{"role": "user", "content": "x" * 40}] * 2047
    check(tmp_path, dialect, request(dialect, key, [*turns, {"role": "user", "content": "a"}]).encode())
    with pytest.raises(InvalidRequest, match="2049 members; the model's context is 2048") as refused:
        check(tmp_path, dialect, request(dialect, key, [*turns, last, last]).encode())
    assert (refused.value.param, refused.value.code) == (key, "context_length_exceeded")


def test_a_long_conversation_beside_a_prompt_is_refused(tmp_path: Path) -> None:
    says = [{"role": "user", "content": "x" * SEARCHED_BELOW_BYTES}]
    with pytest.raises(InvalidRequest, match="not both"):
        check(tmp_path, TOKENIZE, json.dumps({"model": "m", "prompt": "p", "messages": says}).encode())
