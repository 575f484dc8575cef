"""What every API does with a request's parameters: through, within bounds, ignored, or refused by name."""

from __future__ import annotations

import json
from pathlib import Path
from types import MappingProxyType

import msgspec
import pytest

from gateway.dialects.chat.described import CHAT as DESCRIBED
from gateway.dialects.chat.dialect import CHAT, TEXT
from gateway.dialects.chat.request_parts import CannotAsk
from gateway.dialects.dialect import Asked, Dialect, one_line
from gateway.dialects.messages.dialect import MESSAGES
from gateway.dialects.parameters import MOST_UNKNOWN, Limits, count
from gateway.dialects.request_body import Fields, decode_body
from gateway.dialects.responses.dialect import RESPONSES
from gateway.errors import EngineError, InvalidRequest
from gateway.http.engine_connection import Segments
from gateway.http.event_stream import EventStream, TokenUsage
from gateway.routing.table import Route
from tests.support.stack import config_of


class Small(Dialect):
    """An API of few parameters."""

    name = "small"
    described = DESCRIBED
    passed = frozenset({"model", "messages", "n", "length"})
    labels = frozenset({"user"})
    refused = MappingProxyType({"voices": "answers are text."})
    harmless = MappingProxyType({"hurry": "there is one speed."})
    rules = MappingProxyType({"n": count("max_n")})
    renamed = MappingProxyType({"max_tokens": "length"})
    lengths = ("length",)
    model_required = False
    system_among_messages = True

    def apply_contract(self, fields: Fields, route: Route) -> None:
        raise NotImplementedError

    def encode_body(self, fields: Fields, route: Route, received_bytes: int) -> Segments:
        raise NotImplementedError

    def usage_of(self, answer: bytes) -> TokenUsage | None:
        raise NotImplementedError

    def events(self, usage_wanted: bool) -> EventStream:
        raise NotImplementedError


SMALL = Small("/small")


def fields_of(**members: object) -> Fields:
    return decode_body(json.dumps(members).encode())


@pytest.fixture
def limits(tmp_path: Path) -> Limits:
    return Limits(config_of(tmp_path, max_n=4), lambda: 2048)


@pytest.fixture
def strict(tmp_path: Path) -> Limits:
    return Limits(config_of(tmp_path, max_n=4, parameters="strict"), lambda: 2048)


def test_what_has_no_effect_is_taken_out_and_named(limits: Limits) -> None:
    fields = fields_of(model="m", n=2, user="u", hurry=True, voices=[], whatever=1)
    assert sorted(SMALL.check_fields(fields, limits)) == ["hurry", "voices", "whatever"]
    assert sorted(fields) == ["model", "n", "user"]


@pytest.mark.parametrize(
    ("members", "named", "said"),
    [
        ({"voices": ["low"]}, "voices", "answers are text."),
        ({"n": 5}, "n", "4"),
        ({"lengt": 5}, "lengt", "did you mean 'length'"),
    ],
)
def test_what_cannot_be_honoured_is_refused_by_name(
    limits: Limits, members: dict[str, object], named: str, said: str
) -> None:
    with pytest.raises(InvalidRequest, match=said) as refused:
        SMALL.check_fields(fields_of(**members), limits)
    assert refused.value.param == named


@pytest.mark.parametrize("name", ["hurry", "voices", "whatever"])
def test_where_the_gateway_is_strict_nothing_is_ignored(strict: Limits, name: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        SMALL.check_fields(fields_of(**{name: []}), strict)
    assert (refused.value.param, refused.value.code) == (name, "unsupported_parameter")


def test_unknown_names_are_taken_up_to_a_number(limits: Limits) -> None:
    names = [f"{'abcdefgh'[index % 8] * 9}{index}" for index in range(MOST_UNKNOWN + 1)]
    assert len(SMALL.check_fields(fields_of(**dict.fromkeys(names[1:], 1)), limits)) == MOST_UNKNOWN
    with pytest.raises(InvalidRequest, match=str(MOST_UNKNOWN)):
        SMALL.check_fields(fields_of(**dict.fromkeys(names, 1)), limits)


def test_the_base_is_meant_where_no_model_need_be_named() -> None:
    assert SMALL.model_of(fields_of(), "base") == "base"
    assert SMALL.model_of({"model": msgspec.Raw(b"null")}, "base") == "base"
    assert SMALL.model_of(fields_of(model="naming"), "base") == "naming"
    with pytest.raises(InvalidRequest):
        CHAT.model_of(fields_of(), "base")


def test_length_and_defaults_go_by_the_names_of_the_api() -> None:
    assert SMALL.length_of(fields_of(length=7)) == ("length", 7)
    assert SMALL.length_of(fields_of(max_tokens=7)) is None
    assert SMALL.unwritten(["top_k", "max_tokens", "n"]) == ["top_k"]


def test_only_names_of_the_tables_are_counted() -> None:
    told = {"hurry.now": "hurry", "voices[0]": "voices", "secret-word": "other"}
    assert {name: SMALL.label_of(name) for name in told} == told


@pytest.mark.parametrize("dialect", [SMALL, CHAT, TEXT, RESPONSES])
def test_a_user_is_a_text_that_is_not_empty_by_either_name(dialect: Dialect) -> None:
    given = [fields_of(user=user) for user in ("ann", "", 7)] + [fields_of()]
    assert [dialect.sticky_of(fields) for fields in given] == [b'"ann"', None, None, None]
    assert dialect.sticky_of(fields_of(safety_identifier="s")) == b'"s"'
    assert dialect.sticky_of(fields_of(user="ann", safety_identifier="s")) == b'"ann"'


def test_without_a_conversion_there_is_no_chat() -> None:
    assert not SMALL.generates
    with pytest.raises(CannotAsk, match="small"):
        SMALL.as_chat({"messages": []})


def test_a_refusal_counts_messages_as_the_client_sent_them() -> None:
    answer = json.dumps({"error": {"message": "messages[2] has no content"}}).encode()
    sent = msgspec.Raw(b'[{"role": "user", "content": "a"}, {"role": "user", "content": "b"}]')
    with_system = msgspec.Raw(b'[{"role": "system", "content": "s"}]')
    told = [
        json.loads(SMALL.refusal(400, answer, b"r", asked)[1])["error"]["message"]
        for asked in (Asked(sent, True), Asked(sent, False), Asked(with_system, True))
    ]
    assert ["messages[1]" in told[0], "messages[2]" in told[1], "messages[2]" in told[2]] == [True] * 3
    long = json.dumps({"error": {"message": f"messages[{'9' * 5000}] is none"}}).encode()
    assert SMALL.refusal(400, long, b"r", Asked(sent, True))[0] == 400


def test_a_proxys_page_does_not_reach_the_client() -> None:
    status, body = SMALL.refusal(403, b"<html>10.0.0.7 says no</html>", b"r")
    assert (status, "10.0.0.7" in body.decode()) == (403, False)
    assert json.loads(body)["error"]["message"] == "The engine refused the request."


@pytest.mark.parametrize("dialect", [CHAT, MESSAGES], ids=lambda one: one.name)
def test_text_that_is_not_utf_8_is_named_where_the_engine_gives_no_reason(dialect: Dialect) -> None:
    """vLLM says "There was an error parsing the body", outside of any API's envelope."""
    prompt = msgspec.Raw(b'[{"role":"user","content":"\xff"}]')
    answer = b'{"detail":"There was an error parsing the body"}'
    status, body = dialect.refusal(400, answer, b"r", Asked(prompt))
    said = json.loads(body)["error"]["message"]
    assert (status, said) == (400, "'messages' is not UTF-8 text: invalid start byte at its byte 27.")
    plain = json.loads(dialect.refusal(400, answer, b"r", Asked(msgspec.Raw(b"[]")))[1])
    assert plain["error"]["message"] == "The engine refused the request."


def test_an_error_as_an_event_is_one_line() -> None:
    event = SMALL.last_event(b'{\n"error": 1\r\n}')
    assert (event.startswith(b"data: "), event.endswith(b"\n\n"), event.count(b"\n")) == (True, True, 2)
    assert json.loads(one_line(b'{"a":\r\n1}')) == {"a": 1}
    body = SMALL.error_body(EngineError("gone"), b"r")
    assert json.loads(body)["error"]["message"] == "gone"
