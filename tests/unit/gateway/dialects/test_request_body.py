"""What a task adds to a request, and what of a body is never touched."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from gateway.config.document import Config, JsonObject
from gateway.dialects.request_body import (
    JOIN_BELOW_BYTES,
    apply_contract,
    ask_for_usage,
    decode_body,
    encode_body,
    flag_field,
    text_field,
)
from gateway.errors import InvalidRequest
from gateway.routing.table import Loaded, Route, build_table
from tests.support.nesting import UNBOUNDED
from tests.support.stack import config_of, stack

LARGE = JOIN_BELOW_BYTES * 2
SYSTEM = {"role": "system", "content": "Name the concept."}
USER = {"role": "user", "content": "cat"}
NAMING = "naming@bbbbbbbbbbbb"
OBJECT: JsonObject = {"type": "json_object"}


def route(folder: Path, name: str = "naming") -> Route:
    loaded = {"base": [Loaded("base")], "naming": [Loaded(NAMING)]}
    return build_table(config_of(folder), loaded).routes[name]


def sent(folder: Path, body: bytes, name: str = "naming", size: int | None = None) -> bytes:
    """What the engine gets for a client's body."""
    fields = decode_body(body)
    apply_contract(fields, route(folder, name))
    return b"".join(encode_body(fields, route(folder, name), len(body) if size is None else size))


def body_of(**fields: object) -> bytes:
    return json.dumps({"model": "naming", "messages": [USER], **fields}).encode()


def test_defaults_go_where_the_client_gave_none(tmp_path: Path) -> None:
    added = json.loads(sent(tmp_path, body_of()))
    assert (added["model"], added["temperature"], added["max_tokens"]) == (NAMING, 0, 24)
    assert added["response_format"]["json_schema"]["schema"] == {"type": "string"}
    own = json.loads(sent(tmp_path, body_of(temperature=0.5, max_tokens=1)))
    assert (own["temperature"], own["max_tokens"]) == (0.5, 1)


@pytest.mark.parametrize("size", [10, LARGE])
def test_white_space_around_a_value_is_none_of_it(tmp_path: Path, size: int) -> None:
    body = b'{"model": "naming", "messages" : \n\t [{"role": "user", "content": "cat"}] \n}'
    assert json.loads(sent(tmp_path, body, size=size))["messages"] == [SYSTEM, USER]


def test_beams_are_not_asked_for_where_a_task_has_a_schema(tmp_path: Path) -> None:
    """The engine holds them to none."""
    with pytest.raises(InvalidRequest, match="'naming'") as refused:
        sent(tmp_path, body_of(use_beam_search=True))
    assert refused.value.param == "use_beam_search"
    sent(tmp_path, body_of(use_beam_search=False))
    sent(tmp_path, body_of(use_beam_search=True, response_format={"type": "text"}))


@pytest.mark.parametrize("key", ["temperature", "max_tokens", "max_completion_tokens", "response_format"])
@pytest.mark.parametrize("size", [0, LARGE])
def test_null_is_absent_so_that_the_tasks_default_holds(tmp_path: Path, key: str, size: int) -> None:
    assert sent(tmp_path, body_of(**{key: None}), size=size) == sent(tmp_path, body_of(), size=size)


@pytest.mark.parametrize(
    ("text", "half"),
    [
        (rb"cut \ud83d here", rb"\ud83d"),
        (rb"\ude00 first", rb"\ude00"),
        (rb"\ud83d\uDE00 \uD83D", rb"\uD83D"),
        (rb"\\\ud83d", rb"\ud83d"),
        (rb"\ud83d\n", rb"\ud83d"),
    ],
)
@pytest.mark.parametrize("kind", [bytes, bytearray])
def test_half_a_character_is_named_with_its_place(text: bytes, half: bytes, kind: type[bytes]) -> None:
    body = b'{"a":"%b"}' % text
    with pytest.raises(InvalidRequest, match="lone surrogate") as raised:
        decode_body(kind(body))
    assert f"{half.decode()} at byte {body.rindex(half)}" in raised.value.message


def test_a_backslash_before_a_u_is_no_character() -> None:
    with pytest.raises(InvalidRequest) as raised:
        decode_body(rb'{"a":"\\ud83d \ud83d\ude00","b":nope}')
    assert "surrogate" not in raised.value.message


def test_null_within_a_value_stays(tmp_path: Path) -> None:
    message: dict[str, object] = {"role": "assistant", "content": None, "tool_calls": []}
    given = json.loads(sent(tmp_path, body_of(messages=[USER, message], x=None, **{"nu\\ll": 1})))
    assert given["messages"][2] == message
    assert "x" not in given
    assert given["nu\\ll"] == 1


@pytest.mark.parametrize(
    ("fields", "temperature"),
    [
        ({"n": 3}, None),
        ({"n": 1}, 0),
        ({}, 0),
        ({"n": None}, 0),
        ({"n": 3, "temperature": 0}, 0),  # the client's own: the engine refuses it, with what to send
        ({"n": 3, "temperature": 0.7}, 0.7),
    ],
)
def test_several_answers_are_not_asked_at_a_tasks_temperature_of_zero(
    tmp_path: Path, fields: dict[str, object], temperature: float | None
) -> None:
    assert json.loads(sent(tmp_path, body_of(**fields))).get("temperature") == temperature


@pytest.mark.parametrize(
    ("defaults", "fields", "left_out"),
    [
        ({"n": 4}, {"temperature": 0}, {"n"}),
        ({"n": 4}, {"temperature": 1e-6}, {"n"}),
        ({"n": 4}, {"temperature": 0.7}, set()),
        ({"n": 4}, {"temperature": "cold"}, set()),  # the engine says what is wrong with it
        ({"n": 1}, {"temperature": 0}, set()),
        ({"min_tokens": 50}, {"max_tokens": 10}, {"min_tokens"}),
        ({"min_tokens": 50}, {"max_completion_tokens": 10}, {"min_tokens"}),
        ({"min_tokens": 50}, {"max_completion_tokens": 10, "max_tokens": 90}, {"min_tokens"}),
        ({"min_tokens": 50}, {"max_tokens": 50}, set()),
        ({"min_tokens": 50, "max_tokens": 60}, {}, set()),
        ({"logprobs": True, "top_logprobs": 5}, {"logprobs": False}, {"top_logprobs"}),
        ({"logprobs": True, "logprob_token_ids": [1]}, {"logprobs": False}, {"logprob_token_ids"}),
        ({"logprobs": True, "top_logprobs": 5}, {"logprobs": True}, set()),
        ({"logprobs": True, "top_logprobs": 5}, {}, set()),
        ({"response_format": OBJECT}, {"structured_outputs": {"regex": "a"}}, {"response_format"}),
        ({"structured_outputs": {"regex": "a"}}, {"response_format": OBJECT}, {"structured_outputs"}),
        ({"response_format": OBJECT}, {}, set()),
    ],
)
def test_a_default_that_the_engine_refuses_beside_the_clients_own_gives_way(
    tmp_path: Path, defaults: JsonObject, fields: JsonObject, left_out: set[str]
) -> None:
    """Else the client would be told what is wrong with a parameter that it never sent."""
    document = config_of(tmp_path).model_dump(mode="json", by_alias=True)
    document["tasks"]["naming"]["defaults"] = defaults
    table = build_table(Config.model_validate(document), {"naming": [Loaded(NAMING)]})
    asked = decode_body(body_of(**fields))
    apply_contract(asked, table.routes["naming"])
    written = {key: json.loads(bytes(value)) for key, value in asked.items()}
    kept = {key: value for key, value in defaults.items() if key not in left_out}
    assert written.keys().isdisjoint(left_out)
    assert {key: written[key] for key in (*kept, *fields)} == {**kept, **fields}


@pytest.mark.parametrize("key", ["max_tokens", "max_completion_tokens"])
def test_one_name_of_a_bound_stands_in_for_the_other(tmp_path: Path, key: str) -> None:
    given = json.loads(sent(tmp_path, body_of(**{key: 3})))
    assert {name: given[name] for name in given if "max_" in name} == {key: 3}


@pytest.mark.parametrize("key", ["response_format", "structured_outputs"])
def test_own_format_stands_in_for_the_tasks(tmp_path: Path, key: str) -> None:
    given = json.loads(sent(tmp_path, body_of(**{key: {"type": "text"}})))
    assert given[key] == {"type": "text"}
    assert key == "response_format" or "response_format" not in given


@pytest.mark.parametrize("padding", [0, LARGE], ids=["small", "large"])
@pytest.mark.parametrize(
    ("messages", "expected"),
    [
        ([USER], [SYSTEM, USER]),
        ([USER, {"role": "assistant", "content": "x"}, USER], None),
        ([{"role": "system", "content": "own"}, USER], []),
        ([USER, {"role": "system", "content": "own"}], []),
        ([{"role": "developer", "content": "own"}, USER], []),
        ([], []),
    ],
)
def test_system_message_stands_first_where_there_is_none(
    tmp_path: Path, messages: list[object], expected: list[object] | None, padding: int
) -> None:
    given = json.loads(sent(tmp_path, body_of(messages=messages, user="x" * padding)))["messages"]
    assert given == ([SYSTEM, *messages] if expected is None else expected or messages)


@pytest.mark.parametrize("space", ["", " ", "\r\n\t ", " " * 5000])
def test_small_and_large_bodies_are_sent_alike(tmp_path: Path, space: str) -> None:
    written = (
        f'{{"model":{space}"naming"{space},"messages":{space}[{space}{json.dumps(USER)}{space}]{space}}}'
    )
    body = written.encode()
    small, large = (sent(tmp_path, body, size=size) for size in (0, LARGE))
    assert json.loads(small) == json.loads(large)
    assert small == large
    assert json.loads(small)["messages"] == [SYSTEM, USER]


def test_random_documents_mean_the_same_to_both(tmp_path: Path) -> None:
    chance = random.Random(5)
    for _ in range(200):
        extra = {chance.choice('abcé\\"\n') * chance.randrange(1, 4): value(chance, 3) for _ in range(5)}
        body = json.dumps(
            {**extra, "model": "naming", "messages": [USER]},
            indent=chance.choice([None, 2]),
            ensure_ascii=chance.random() < 0.5,
        ).encode()
        small, large = (json.loads(sent(tmp_path, body, size=size)) for size in (0, LARGE))
        assert small == large
        assert {key: small.get(key) for key in extra} == extra
        assert not [key for key, one in small.items() if one is None]


def value(chance: random.Random, depth: int) -> object:
    kinds: list[object] = [None, True, 1.5, -3, 10**20, 'é\u2028"\\', ""]
    if depth and chance.random() < 0.5:
        inner = [value(chance, depth - 1) for _ in range(3)]
        return inner if chance.random() < 0.5 else dict(zip("xyz", inner, strict=True))
    return chance.choice(kinds)


def test_the_last_of_two_keys_counts_and_only_it_is_sent(tmp_path: Path) -> None:
    body = b'{"model":"base","mod\\u0065l":"naming","a":1,"a":2,"messages":[],"messages":[{"role":"user"}]}'
    fields = decode_body(body)
    assert text_field(fields, "model") == "naming"
    given = sent(tmp_path, body)
    assert (given.count(b'"model"'), given.count(b'"a"'), given.count(b'"messages"')) == (1, 1, 1)
    assert json.loads(given)["messages"] == [SYSTEM, {"role": "user"}]
    roles = b'{"model":"naming","messages":[{"role":"system","role":"user"}]}'
    assert len(json.loads(sent(tmp_path, roles))["messages"]) == 2


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b'"x"',
        b"{} {}",
        b"{}\0",
        b'{"a":NaN}',
        b'{"a":Infinity}',
        b'{"a":-Infinity}',
        b'{"a":01}',
        b'{"a":1.2.3}',
        b'{"a":.5}',
        b'{"a":[1,]}',
        b"{'a':1}",
        b'{"a":"\\ud800"}',
        b'{"a":"\x01"}',
        b'{"a":"\\q"}',
        b'{"\xff":1}',
        pytest.param(b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}", marks=UNBOUNDED),
        b'{"a":' + b"[" * 100_000,
        pytest.param(b'{"a":' * 100_000 + b"1" + b"}" * 100_000, marks=UNBOUNDED),
    ],
    ids=range(21),
)
def test_body_that_is_no_json_object_is_refused(body: bytes) -> None:
    with pytest.raises(InvalidRequest):
        decode_body(body)


@pytest.mark.parametrize(
    "messages",
    [
        b"{}",
        b'"x"',
        b"3",
        b"[1]",
        b"[null]",
        b"[[]]",
        b"[{}]",
        b'[{"role":3}]',
        b'[{"role":"\xff"}]',
    ],
)
@pytest.mark.parametrize("size", [0, LARGE])
def test_messages_that_are_none_are_refused(tmp_path: Path, messages: bytes, size: int) -> None:
    with pytest.raises(InvalidRequest) as raised:
        sent(tmp_path, b'{"model":"naming","messages":%b}' % messages, size=size)
    assert raised.value.param == "messages"


def test_without_a_system_prompt_messages_are_the_engines_to_judge(tmp_path: Path) -> None:
    body = b'{"model":"base","messages":{"x":[1.10 ,null]},"prompt":["\xc3\xa9"]}'
    assert sent(tmp_path, body, "base") == body


@pytest.mark.parametrize(
    ("options", "wanted", "asked"),
    [
        (None, False, {"include_usage": True}),
        (b"null", False, {"include_usage": True}),
        (b"{}", False, {"include_usage": True}),
        (b'{"include_usage":null}', False, {"include_usage": True}),
        (b'{"include_usage":false,"x":[1]}', False, {"include_usage": True, "x": [1]}),
        (b'{ "include_usage" : true }', True, {"include_usage": True}),
        (
            b'{"include_usage":true,"continuous_usage_stats":true}',
            True,
            {"include_usage": True, "continuous_usage_stats": True},
        ),
        (b'{"continuous_usage_stats":true}', False, {"include_usage": True}),
        (b'{"include_usage":true,"include_usage":false}', False, {"include_usage": True}),
    ],
)
def test_usage_is_always_asked_for(options: bytes | None, wanted: bool, asked: object) -> None:
    """Statistics in every event are the engine's answer only to a client that asks for usage."""
    fields = decode_body(b"{}" if options is None else b'{"stream_options":%b}' % options)
    assert ask_for_usage(fields) is wanted
    assert json.loads(bytes(fields["stream_options"])) == asked


@pytest.mark.parametrize(
    "options",
    [b"3", b"[]", b'"x"', b"true", b'{"include_usage":1}', b'{"include_usage":"yes"}', b'{"\xff":1}'],
)
def test_stream_options_of_another_type_are_refused(options: bytes) -> None:
    with pytest.raises(InvalidRequest):
        ask_for_usage(decode_body(b'{"stream_options":%b}' % options))


@pytest.mark.parametrize(("raw", "given"), [(b"true", True), (b"false", False), (b"null", False)])
def test_flags(raw: bytes, given: bool) -> None:
    assert flag_field(decode_body(b'{"stream" :\n %b\t}' % raw), "stream") is given
    assert flag_field({}, "stream") is False


@pytest.mark.parametrize("raw", [b"1", b'"true"', b"[]", b"{}"])
def test_flag_of_another_type_is_refused(raw: bytes) -> None:
    with pytest.raises(InvalidRequest):
        flag_field(decode_body(b'{"stream":%b}' % raw), "stream")


@pytest.mark.anyio
@pytest.mark.parametrize("model", ["base", "naming"])
async def test_ten_megabytes_reach_the_engine_byte_for_byte(tmp_path: Path, model: str) -> None:
    text = random.Random(1).randbytes(5_200_000).hex()
    messages = json.dumps([{"role": "user", "content": text}]).encode()
    tail = b',"temperature":1e0,"max_tokens":3,"response_format":{ "type":"text" }}'
    body = b'{"model":"%b","messages":%b' % (model.encode(), messages) + tail
    async with stack(tmp_path, max_body_bytes=11 << 20) as s:
        for _ in range(2):  # on a fresh connection and on a kept one
            assert (await s.chat(body)).status_code == 200
        prefix = b"" if model == "base" else json.dumps(SYSTEM, separators=(",", ":")).encode() + b","
        name = b"base" if model == "base" else NAMING.encode()
        expected = b'{"model":"%b","messages":[%b' % (name, prefix) + messages[1:] + tail
        assert [each.body == expected for each in s.engine.completions] == [True, True]


@pytest.mark.anyio
@pytest.mark.parametrize(
    "body",
    [
        b'{"model":"naming","messages":[{"role":"\xff"}]}',
        b'{"model":"base","stream":true,"stream_options":{"\xff":1}}',
        b'{"model":"base","n":1e999}',
        b'{"model":"base","n":"\xff"}',
        b'{"model":"concept-naming","messages":[{"role":"user","content":"\xff"}]}',
        b'{"model":"concept-naming","stream":true,"stream_options":3,"messages":[]}',
    ],
)
async def test_odd_bodies_are_400_and_no_fault_of_ours(tmp_path: Path, body: bytes) -> None:
    async with stack(tmp_path) as s:
        answer = await s.chat(body)
        assert (answer.status_code, answer.json()["error"]["type"]) == (400, "invalid_request_error")
        assert not s.engine.completions
