"""OpenAI's chats and completions: what each of the two takes."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest

from gateway.dialects.chat.dialect import CHAT, TEXT
from gateway.dialects.dialect import Dialect
from gateway.dialects.parameters import Limits
from gateway.dialects.request_body import Fields, decode_body
from gateway.errors import InvalidRequest
from tests.support.stack import config_of


def fields_of(**members: object) -> Fields:
    return decode_body(json.dumps(members).encode())


@pytest.fixture
def limits(tmp_path: Path) -> Limits:
    return Limits(config_of(tmp_path), lambda: 2048)


@pytest.mark.parametrize(
    ("dialect", "member", "meant"),
    [(CHAT, "prompt", "messages"), (TEXT, "messages", "prompt"), (CHAT, "functions", "tools")],
)
def test_the_other_ones_parameter_is_refused_with_its_name_here(
    limits: Limits, dialect: Dialect, member: str, meant: str
) -> None:
    with pytest.raises(InvalidRequest, match=meant) as refused:
        dialect.check_fields(fields_of(**{member: [{"role": "user"}]}), limits)
    assert refused.value.param == member


def test_what_asks_for_text_alone_is_taken_and_anything_else_refused(limits: Limits) -> None:
    assert CHAT.check_fields(fields_of(modalities=["text"], function_call="none"), limits) == [
        "function_call"
    ]
    for member, value in (("modalities", ["text", "audio"]), ("function_call", {"name": "f"})):
        with pytest.raises(InvalidRequest) as refused:
            CHAT.check_fields(fields_of(**{member: value}), limits)
        assert refused.value.param == member


@pytest.mark.parametrize("dialect", [CHAT, TEXT], ids=lambda one: one.name)
def test_what_the_engine_holds_no_beam_to_is_refused_with_them(limits: Limits, dialect: Dialect) -> None:
    plain = {"response_format": {"type": "text"}, "stop": [], "min_tokens": 0, "top_p": 1, "n": 2}
    assert dialect.check_fields(fields_of(use_beam_search=True, **plain), limits) == []
    held = {"response_format": {"type": "json_object"}, "stop": "a", "logit_bias": {"1": 1}, "min_tokens": 1}
    for name, value in held.items():
        assert dialect.check_fields(fields_of(use_beam_search=False, **{name: value}), limits) == []
        with pytest.raises(InvalidRequest, match="use_beam_search") as refused:
            dialect.check_fields(fields_of(use_beam_search=True, **{name: value}), limits)
        assert refused.value.param == name


def test_the_newer_name_of_a_length_counts_first() -> None:
    both = fields_of(max_tokens=5, max_completion_tokens=7)
    assert CHAT.length_of(both) == ("max_completion_tokens", 7)
    assert TEXT.length_of(fields_of(max_tokens=5)) is None  # of several prompts none bounds the answer


@pytest.mark.parametrize("wanted", [True, False])
def test_a_stream_always_ends_with_its_usage_for_the_gateway(wanted: bool) -> None:
    fields = fields_of(stream=True, **({"stream_options": {"include_usage": True}} if wanted else {}))
    assert CHAT.ask_for_usage(fields) is wanted
    assert json.loads(bytes(fields["stream_options"])) == {"include_usage": True}
    usage = b'data: {"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":2}}\n\n'
    events = CHAT.events(wanted)
    shown = events.feed(usage)
    assert (shown == usage) is wanted
    assert events.usage is not None
    assert events.usage.prompt_tokens == 3


@pytest.mark.parametrize("none", [b"0", b"0.0"])
def test_a_prompt_may_be_echoed_without_an_answer(limits: Limits, none: bytes) -> None:
    """As who has a text scored asks: `echo`, `logprobs` and no token more."""
    fields = {"echo": msgspec.Raw(b"true"), "max_tokens": msgspec.Raw(none)}
    assert TEXT.check_fields(fields, limits) == []
    assert bytes(fields["max_tokens"]) == b"0"
    for dialect, echo in ((TEXT, b"false"), (CHAT, b"true")):
        with pytest.raises(InvalidRequest, match=r"at least 1|from 1"):
            dialect.check_fields({"echo": msgspec.Raw(echo), "max_tokens": msgspec.Raw(none)}, limits)
