"""Lists that the engine walks through for each token are bounded, before any of it is decoded."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest

from gateway.dialects.chat.dialect import CHAT, TEXT
from gateway.dialects.dialect import Dialect
from gateway.dialects.messages.dialect import MESSAGES
from gateway.dialects.parameters import Limits
from gateway.dialects.responses.dialect import RESPONSES
from gateway.errors import InvalidRequest
from tests.support.stack import config_of

BASE: dict[Dialect, dict[str, object]] = {
    CHAT: {"model": "base", "messages": []},
    TEXT: {"model": "base", "prompt": "a"},
    RESPONSES: {"model": "base", "input": "a"},
    MESSAGES: {"model": "base", "messages": [{"role": "user", "content": "a"}], "max_tokens": 4},
}
WORDS = [f"word {number}" for number in range(129)]
IDS = list(range(5000))


def checked(folder: Path, dialect: Dialect, asked: dict[str, object], **bounds: object) -> list[str]:
    given = {**BASE[dialect], **asked}
    fields = {key: msgspec.Raw(json.dumps(value).encode()) for key, value in given.items()}
    return dialect.check_fields(fields, Limits(config_of(folder, **bounds), lambda: 2048))


@pytest.mark.parametrize(
    ("dialect", "key", "value", "named"),
    [
        (CHAT, "stop", WORDS, "gateway.max_stop_strings"),
        (TEXT, "stop", WORDS, "gateway.max_stop_strings"),
        (RESPONSES, "stop", WORDS, "gateway.max_stop_strings"),
        (MESSAGES, "stop_sequences", WORDS, "gateway.max_stop_strings"),
        (CHAT, "stop", ["ab"] * 1_000_000, "65536"),
        (CHAT, "stop", "a" * 70_000, "65536"),
        (CHAT, "bad_words", WORDS, "128"),
        (CHAT, "stop_token_ids", IDS, "gateway.max_logit_bias"),
        (RESPONSES, "stop_token_ids", IDS, "gateway.max_logit_bias"),
        (CHAT, "logit_bias", {str(each): 1 for each in IDS}, "gateway.max_logit_bias"),
        (RESPONSES, "logit_bias", {str(each): 1 for each in IDS}, "gateway.max_logit_bias"),
        (TEXT, "allowed_token_ids", [1] * 300_000, "gateway.max_allowed_token_ids"),
        (CHAT, "logprob_token_ids", IDS[:129], "128"),
        (CHAT, "min_tokens", 2049, "from 0 to 2048"),
        (CHAT, "min_tokens", -1, "from 0 to 2048"),
        (CHAT, "stream_interval", 2**70, "from 1 to"),
        (CHAT, "stream_interval", 0, "from 1 to"),
        (CHAT, "repetition_detection", {"max_pattern_size": 257, "min_count": 2}, "up to 256"),
        (TEXT, "repetition_detection", {"max_pattern_size": 1, "min_count": 2**70}, "up to 256"),
        (TEXT, "repetition_detection", {"max_pattern_size": "1000000", "min_count": 2}, "up to 256"),
    ],
    ids=lambda value: str(value)[:20] if isinstance(value, str) else "",
)
def test_a_list_beyond_its_bound_is_a_400_that_names_both(
    tmp_path: Path, dialect: Dialect, key: str, value: object, named: str
) -> None:
    with pytest.raises(InvalidRequest, match=named) as refused:
        checked(tmp_path, dialect, {key: value})
    assert refused.value.param == key
    assert f"'{key}'" in refused.value.message


@pytest.mark.parametrize(
    ("dialect", "asked"),
    [
        (CHAT, {"stop": WORDS[:128], "bad_words": WORDS[:128], "stop_token_ids": IDS[:4096]}),
        (CHAT, {"stop": "a" * 4000}),
        (CHAT, {"stop": ["a, b, c, " * 50] * 100}),
        (CHAT, {"stop": [], "logit_bias": {}, "min_tokens": 2048, "stream_interval": 1000}),
        (TEXT, {"allowed_token_ids": list(range(262_144))}),
        (CHAT, {"logit_bias": {str(each): -100 for each in range(4096)}, "logprob_token_ids": IDS[:128]}),
        (MESSAGES, {"stop_sequences": WORDS[:128]}),
        (CHAT, {"stop": 5}),
        (CHAT, {"repetition_detection": {"max_pattern_size": 256, "min_pattern_size": 2, "min_count": 3}}),
    ],
)
def test_what_clients_send_passes_and_nothing_is_named(
    tmp_path: Path, dialect: Dialect, asked: dict[str, object]
) -> None:
    """A value of the wrong kind is the engine's to refuse."""
    assert checked(tmp_path, dialect, asked) == []


def test_the_bounds_are_configured(tmp_path: Path) -> None:
    bounds = {"max_stop_strings": 200, "max_logit_bias": 6000}
    assert checked(tmp_path, CHAT, {"stop": WORDS, "stop_token_ids": IDS}, **bounds) == []
    with pytest.raises(InvalidRequest, match="it may have 2 "):
        checked(tmp_path, CHAT, {"stop": ["a", "b", "c"]}, max_stop_strings=2)


@pytest.mark.parametrize("dialect", [CHAT, TEXT, RESPONSES], ids=lambda one: one.name)
@pytest.mark.parametrize(
    ("key", "empty"), [("stop", '""'), ("stop", "[]"), ("logit_bias", "[]"), ("logit_bias", "{}")]
)
def test_what_is_empty_asks_for_nothing(tmp_path: Path, dialect: Dialect, key: str, empty: str) -> None:
    """llama.cpp's clients send `"logit_bias": []`, chat pages `"stop": ""`; the engine would refuse them."""
    fields = {key: msgspec.Raw(empty.encode())}
    assert dialect.check_fields(fields, Limits(config_of(tmp_path), lambda: 2048)) == []
    assert not fields


@pytest.mark.parametrize("dialect", [CHAT, TEXT, RESPONSES], ids=lambda one: one.name)
def test_a_stop_of_spaces_is_a_stop(tmp_path: Path, dialect: Dialect) -> None:
    fields = {"stop": msgspec.Raw(b'" "')}
    assert dialect.check_fields(fields, Limits(config_of(tmp_path), lambda: 2048)) == []
    assert bytes(fields["stop"]) == b'" "'


@pytest.mark.parametrize(
    ("dialect", "key"),
    [(CHAT, "stop"), (TEXT, "bad_words"), (RESPONSES, "stop"), (MESSAGES, "stop_sequences")],
)
def test_an_empty_string_in_a_list_is_named(tmp_path: Path, dialect: Dialect, key: str) -> None:
    """The engine says so without a parameter, and under its own name for it."""
    with pytest.raises(InvalidRequest, match=f"'{key}' holds an empty string") as refused:
        checked(tmp_path, dialect, {key: ["a", ""]})
    assert refused.value.param == key
    checked(tmp_path, dialect, {key: ['a""b']})
