"""What is harmless is taken out and named, what would change an answer is refused; nothing is lost unsaid."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from gateway.dialects.chat.dialect import CHAT, TEXT
from gateway.dialects.dialect import Dialect
from gateway.dialects.kinds import ELSEWHERE, STEERING
from gateway.dialects.messages.dialect import COUNT_TOKENS, MESSAGES
from gateway.dialects.parameters import MOST_TOKENS, MOST_UNKNOWN, Limits
from gateway.dialects.registry import DIALECTS
from gateway.dialects.request_body import Fields, decode_body
from gateway.dialects.responses.dialect import RESPONSES
from gateway.dialects.tokens.dialect import EMBEDDINGS, TOKENIZE
from gateway.errors import InvalidRequest
from tests.support.stack import config_of

GENERATING = [one for one in DIALECTS if one.generates]


FUNCTION = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}


def limits(folder: Path, context: int | None = 2048, *, strict: bool = False, **base: object) -> Limits:
    config = config_of(folder)
    bounds = config.gateway.model_copy(update={"parameters": "strict" if strict else "lenient"})
    config = config.model_copy(update={"base": config.base.model_copy(update=base), "gateway": bounds})
    return Limits(config, lambda: context)


def taken(dialect: Dialect, made: Limits, **fields: object) -> tuple[list[str], dict[str, Any]]:
    """What was ignored, and what is left of the request."""
    required = {"max_tokens": 5} if dialect is MESSAGES else {}
    left: Fields = decode_body(json.dumps({**required, **fields}).encode())
    ignored = dialect.check_fields(left, made)
    given = {key: json.loads(bytes(raw)) for key, raw in left.items()}
    if "max_tokens" not in fields:
        given.pop("max_tokens", None)
    return ignored, given


def refused(dialect: Dialect, made: Limits, **fields: object) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as raised:
        taken(dialect, made, **fields)
    return raised.value


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda one: one.name)
def test_what_is_harmless_is_taken_out_and_named_and_strictly_refused(
    tmp_path: Path, dialect: Dialect
) -> None:
    lenient, strict = limits(tmp_path), limits(tmp_path, strict=True)
    for key in dialect.ignored:
        assert taken(dialect, lenient, **{key: {"a": 1}}) == ([key], {})
        error = refused(dialect, strict, **{key: {"a": 1}})
        assert (error.param, error.code) == (key, "unsupported_parameter")


WISHES: list[tuple[Dialect, dict[str, Any], list[str], dict[str, Any]]] = [
    (CHAT, {"store": True}, ["store"], {}),
    (CHAT, {"service_tier": "flex"}, ["service_tier"], {}),
    (CHAT, {"verbosity": "low"}, ["verbosity"], {}),
    (CHAT, {"prediction": {"type": "content", "content": "x"}}, ["prediction"], {}),
    (CHAT, {"reasoning": {}}, ["reasoning"], {}),
    (CHAT, {"stream_options": {"include_usage": True}}, ["stream_options"], {}),
    (CHAT, {"thinking_token_budget": 99}, ["thinking_token_budget"], {}),
    (CHAT, {"extra_body": {}}, ["extra_body"], {}),
    (CHAT, {"functions": [], "function_call": "auto"}, ["functions", "function_call"], {}),
    (TEXT, {"suffix": "", "keep_alive": "5m"}, ["suffix", "keep_alive"], {}),
    (RESPONSES, {"store": True, "client_metadata": {"x": "0"}}, ["store", "client_metadata"], {}),
    (RESPONSES, {"text": {"verbosity": "low"}}, ["text.verbosity"], {}),
    (RESPONSES, {"truncation": "auto"}, ["truncation"], {}),
    (
        RESPONSES,
        {"text": {"verbosity": "low", "format": {"type": "text"}}},
        ["text.verbosity"],
        {"text": {"format": {"type": "text"}}},
    ),
    (
        RESPONSES,
        {"reasoning": {"effort": "low", "context": "auto"}},
        ["reasoning.context"],
        {"reasoning": {"effort": "low"}},
    ),
    (RESPONSES, {"include": ["web_search_call.action.sources"]}, ["include"], {}),
    (
        RESPONSES,
        {"include": ["reasoning.encrypted_content", "file_search_call.results"]},
        ["include"],
        {"include": ["reasoning.encrypted_content"]},
    ),
    (MESSAGES, {"context_management": {"edits": [{"type": "x"}]}}, ["context_management"], {}),
    (MESSAGES, {"mcp_servers": []}, ["mcp_servers"], {}),
    (
        MESSAGES,
        {"metadata": {"user_id": "u", "team": "t"}},
        ["metadata.team"],
        {"metadata": {"user_id": "u"}},
    ),
    (MESSAGES, {"thinking": {"type": "enabled", "budget_tokens": 1024}}, ["thinking"], {}),
    (MESSAGES, {"speed": "fast", "service_tier": "priority"}, ["speed", "service_tier"], {}),
    (MESSAGES, {"betas": ["x"], "anthropic_version": "y"}, ["betas", "anthropic_version"], {}),
]


@pytest.mark.parametrize(("dialect", "fields", "ignored", "left"), WISHES)
def test_wishes_of_popular_clients_are_named_and_the_rest_of_them_stands(
    tmp_path: Path, dialect: Dialect, fields: dict[str, Any], ignored: list[str], left: dict[str, Any]
) -> None:
    assert taken(dialect, limits(tmp_path), **fields) == (ignored, left)
    refused(dialect, limits(tmp_path, strict=True), **fields)


def test_padding_of_events_is_named_and_the_other_options_stand(tmp_path: Path) -> None:
    options = {"include_usage": True, "include_obfuscation": True}
    ignored, left = taken(CHAT, limits(tmp_path), stream=True, stream_options=options)
    assert ignored == ["stream_options.include_obfuscation"]
    assert left["stream_options"] == {"include_usage": True}
    assert taken(RESPONSES, limits(tmp_path), stream=True, stream_options=options)[0] == [
        "stream_options.include_usage",
        "stream_options.include_obfuscation",
    ]


@pytest.mark.parametrize(
    ("dialect", "fields"),
    [
        (CHAT, {"service_tier": "auto", "store": False, "verbosity": "medium", "user": "u", "metadata": {}}),
        (CHAT, {"stream": True, "stream_options": {"include_usage": True}}),
        (
            RESPONSES,
            {"store": False, "text": {"verbosity": "medium"}, "include": [], "truncation": "disabled"},
        ),
        (MESSAGES, {"metadata": {"user_id": "u"}, "service_tier": "auto", "thinking": {"type": "adaptive"}}),
    ],
)
def test_what_asks_for_nothing_is_not_named(tmp_path: Path, dialect: Dialect, fields: Any) -> None:
    assert taken(dialect, limits(tmp_path), **fields) == ([], fields)


@pytest.mark.parametrize(
    ("dialect", "fields"),
    [
        (RESPONSES, {"previous_response_id": "resp_1"}),
        (RESPONSES, {"conversation": "c"}),
        (RESPONSES, {"background": True}),
        (CHAT, {"web_search_options": {}}),
        (CHAT, {"modalities": ["text", "audio"]}),
        (CHAT, {"audio": {"voice": "x"}}),
        (CHAT, {"functions": [{"name": "f"}]}),
        (CHAT, {"function_call": {"name": "f"}}),
        (CHAT, {"extra_body": {"top_k": 1}}),
        (CHAT, {"api_key": "x"}),
        (CHAT, {"best_of": 2}),
        (CHAT, {"guided_json": {"type": "object"}}),
        (CHAT, {"stop_sequences": ["x"]}),
        (CHAT, {"max_output_tokens": 5}),
        (MESSAGES, {"seed": 1}),
        (MESSAGES, {"mcp_servers": [{"type": "url"}]}),
        (MESSAGES, {"max_tokens": 0}),
        (TEXT, {"suffix": "x"}),
        *((CHAT, {key: "x"}) for key in sorted(ELSEWHERE)),
    ],
)
def test_what_would_change_the_answer_is_refused(tmp_path: Path, dialect: Dialect, fields: Any) -> None:
    assert refused(dialect, limits(tmp_path), **fields).param == next(iter(fields))


@pytest.mark.parametrize("dialect", GENERATING, ids=lambda one: one.name)
def test_no_name_that_steers_an_answer_anywhere_is_lost(tmp_path: Path, dialect: Dialect) -> None:
    for key in STEERING - dialect.passed - dialect.labels:
        assert refused(dialect, limits(tmp_path), **{key: 7}).param == key


@pytest.mark.parametrize(
    ("dialect", "name", "meant"),
    [
        (CHAT, "temprature", "temperature"),
        (CHAT, "tempratur", "temperature"),
        (CHAT, "temperatrue", "temperature"),
        (CHAT, "topP", "top_p"),
        (CHAT, "max-tokens", "max_tokens"),
        (CHAT, "respone_format", "response_format"),
        (CHAT, "Seed", "seed"),
        (RESPONSES, "max_ouput_tokens", "max_output_tokens"),
        (MESSAGES, "stop_sequence", "stop_sequences"),
        (RESPONSES, "reasonin", "reasoning"),
    ],
)
def test_a_misspelt_name_is_refused_with_what_was_meant(
    tmp_path: Path, dialect: Dialect, name: str, meant: str
) -> None:
    error = refused(dialect, limits(tmp_path), **{name: 1})
    assert (error.status, error.param) == (400, name)
    assert f"did you mean '{meant}'?" in error.message


@pytest.mark.parametrize(
    ("dialect", "name"),
    [
        *((CHAT, name) for name in ("promptCacheKey", "sessionId", "serviceTier", "users")),
        (RESPONSES, "promptCacheKey"),
        (MESSAGES, "cacheControl"),
    ],
)
def test_a_slip_in_a_label_does_no_more_than_the_label(tmp_path: Path, dialect: Dialect, name: str) -> None:
    """The AI SDK passes what it does not know on as it was set: `promptCacheKey`."""
    assert taken(dialect, limits(tmp_path), **{name: "x"}) == ([name], {})
    assert refused(dialect, limits(tmp_path, strict=True), **{name: "x"}).param == name


def test_a_place_that_asks_for_none_is_taken(tmp_path: Path) -> None:
    assert taken(MESSAGES, limits(tmp_path), inference_geo="global") == (["inference_geo"], {})
    assert refused(MESSAGES, limits(tmp_path), inference_geo="us").param == "inference_geo"


@pytest.mark.parametrize("dialect", GENERATING, ids=lambda one: one.name)
@pytest.mark.parametrize(
    ("name", "meant"),
    [
        *(("maxOutputTokens", ""), ("stopSequences", ""), ("generationConfig", "top of the body")),
        *(("responseSchema", "response_format"), ("systemInstruction", "system"), ("candidateCount", "n")),
    ],
)
def test_what_steers_answers_is_not_left_out_however_it_is_written(
    tmp_path: Path, dialect: Dialect, name: str, meant: str
) -> None:
    """Gemini's API writes its names so."""
    error = refused(dialect, limits(tmp_path), **{name: 5})
    assert (error.param, error.code, meant in error.message) == (name, "unsupported_parameter", True)


def test_what_is_given_under_its_own_name_may_stand_there_in_another_too(tmp_path: Path) -> None:
    assert taken(CHAT, limits(tmp_path), stop=["a"], Stop=["a"])[0] == ["Stop"]


def test_a_name_like_one_that_is_given_is_no_misspelling(tmp_path: Path) -> None:
    made = limits(tmp_path)
    assert refused(CHAT, made, models=["a"]).param == "models"
    assert taken(CHAT, made, model="naming", models=["a"], messages=[], message="x")[0] == [
        "models",
        "message",
    ]
    assert taken(CHAT, made, temperature=0, temprature=1) == (["temprature"], {"temperature": 0})


def test_a_misspelt_member_is_refused_with_what_was_meant(tmp_path: Path) -> None:
    error = refused(CHAT, limits(tmp_path), stream=True, stream_options={"include_usge": True})
    assert "did you mean 'stream_options.include_usage'?" in error.message
    assert refused(RESPONSES, limits(tmp_path), reasoning={"efort": "low"}).param == "reasoning.efort"
    assert refused(CHAT, limits(tmp_path), structured_outputs={"reg": "x"}).param == "structured_outputs.reg"


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda one: one.name)
@pytest.mark.parametrize(
    "name",
    [
        *("trace_id", "conversation_id", "thread_id", "tags", "source", "client", "x", "litellm_metadata"),
        *("application", "environment", "project", "request_source", "langfuse_prompt", "träce"),
    ],
)
def test_a_label_that_nobody_knows_is_taken_out_and_counted_under_one_name(
    tmp_path: Path, dialect: Dialect, name: str
) -> None:
    assert taken(dialect, limits(tmp_path), **{name: {"a": 1}}) == ([name], {})
    assert dialect.label_of(name) == "other"
    refused(dialect, limits(tmp_path, strict=True), **{name: 1})


def test_labels_are_bounded(tmp_path: Path) -> None:
    many = {f"label {number}": 1 for number in range(MOST_UNKNOWN + 1)}
    assert str(MOST_UNKNOWN) in refused(CHAT, limits(tmp_path), **many).message
    assert refused(MESSAGES, limits(tmp_path), metadata=many).param == "metadata"
    many.popitem()
    assert len(taken(CHAT, limits(tmp_path), **many)[0]) == MOST_UNKNOWN
    assert len(refused(CHAT, limits(tmp_path, strict=True), **{"x" * 10_000: 1}).message) < 300


@pytest.mark.parametrize(
    ("dialect", "key"),
    [
        (CHAT, "max_tokens"),
        (CHAT, "max_completion_tokens"),
        (TEXT, "max_tokens"),
        (RESPONSES, "max_output_tokens"),
        (MESSAGES, "max_tokens"),
    ],
)
def test_a_length_beyond_the_context_is_lowered_to_it_and_named(
    tmp_path: Path, dialect: Dialect, key: str
) -> None:
    made = limits(tmp_path)
    for value in (2049, 32_000, 10**30):
        assert taken(dialect, made, **{key: value}) == ([key], {key: 2048})
    assert taken(dialect, made, **{key: 2048}) == ([], {key: 2048})
    assert taken(dialect, limits(tmp_path, None), **{key: 32_000}) == ([], {key: 32_000})
    for value in (0, -1, 1.5, "x", True):  # type: ignore[assignment]
        assert refused(dialect, made, **{key: value}).param == key
    assert "2048" in refused(dialect, limits(tmp_path, strict=True), **{key: 2049}).message
    for value in (MOST_TOKENS + 1, 10**400, 10**4000, 1e300):  # type: ignore[assignment]
        assert taken(dialect, limits(tmp_path, None), **{key: value}) == ([key], {key: MOST_TOKENS})
        assert refused(dialect, limits(tmp_path, None, strict=True), **{key: value}).param == key


def test_a_budget_for_thinking_stays_below_a_lowered_length(tmp_path: Path) -> None:
    able = limits(tmp_path, reasoning_parser="qwen3")
    thinking = {"type": "enabled", "budget_tokens": 31_999}
    ignored, left = taken(MESSAGES, able, max_tokens=32_000, thinking=thinking)
    assert ignored == ["max_tokens", "thinking.budget_tokens"]
    assert left == {"max_tokens": 2048, "thinking": {"type": "enabled", "budget_tokens": 2047}}
    small = {"type": "enabled", "budget_tokens": 1024}
    assert taken(MESSAGES, able, max_tokens=32_000, thinking=small) == (
        ["max_tokens"],
        {"max_tokens": 2048, "thinking": small},
    )


@pytest.mark.parametrize(
    ("dialect", "choices"),
    [
        (CHAT, ["auto", "none"]),
        (RESPONSES, ["auto", "none"]),
        (MESSAGES, [{"type": "auto"}, {"type": "none"}]),
        (COUNT_TOKENS, [{"type": "auto"}]),
    ],
    ids=lambda one: getattr(one, "name", None),
)
@pytest.mark.parametrize("strict", [False, True])
def test_no_tools_are_no_tools_in_whatever_words(
    tmp_path: Path, dialect: Dialect, choices: list[object], strict: bool
) -> None:
    made = limits(tmp_path, strict=strict)
    assert taken(dialect, made, tools=[]) == ([], {})
    for choice in choices:
        assert taken(dialect, made, tool_choice=choice) == ([], {})
        assert taken(dialect, made, tools=[], tool_choice=choice) == ([], {})
        assert taken(dialect, made, tool_choice=choice, tools=[]) == ([], {})


def test_a_choice_among_tools_stands(tmp_path: Path) -> None:
    made = limits(tmp_path, tool_call_parser="hermes")
    fields = {"tool_choice": "auto", "tools": [FUNCTION]}
    assert taken(CHAT, made, **fields) == ([], fields)
    # Without tools the engine refuses it.
    assert taken(CHAT, made, tool_choice="required")[1] == {"tool_choice": "required"}
    assert refused(MESSAGES, made, tool_choice={"type": "any"}).param == "tool_choice"


def test_tokens_are_counted_of_a_whole_request(tmp_path: Path) -> None:
    whole = {
        "model": "naming",
        "messages": [],
        "max_tokens": 32_000,
        "metadata": {"user_id": "u", "x": "y"},
        "stream": True,
        "temperature": 1,
        "stop_sequences": ["x"],
        "context_management": {},
    }
    ignored, left = taken(COUNT_TOKENS, limits(tmp_path), **whole)
    assert sorted([*ignored, *left]) == sorted(whole)
    assert left == {"model": "naming", "messages": []}


def test_routes_without_an_answer_ignore_what_only_an_answer_has(tmp_path: Path) -> None:
    assert taken(TOKENIZE, limits(tmp_path), temperature=0, max_tokens=5)[0] == ["temperature", "max_tokens"]
    assert taken(EMBEDDINGS, limits(tmp_path), stream=False)[0] == ["stream"]
    assert refused(EMBEDDINGS, limits(tmp_path), dimension=5).param == "dimension"


def test_null_asks_for_nothing_on_any_route(tmp_path: Path) -> None:
    for dialect in DIALECTS:
        names = dialect.passed | dialect.labels | dialect.ignored.keys() | dialect.refused.keys()
        required = {"max_tokens"} if dialect is MESSAGES else set()
        nothing = dict.fromkeys([*(names - required), "made up"])
        assert taken(dialect, limits(tmp_path), **nothing) == ([], {})
        assert taken(dialect, limits(tmp_path, strict=True), **nothing) == ([], {})


def test_a_switch_of_the_templates_goes_where_it_belongs(tmp_path: Path) -> None:
    made = limits(tmp_path)
    assert taken(CHAT, made, enable_thinking=False) == (
        [],
        {"chat_template_kwargs": {"enable_thinking": False}},
    )
    own = {"chat_template_kwargs": {"enable_thinking": True}}
    assert taken(CHAT, made, enable_thinking=False, **own) == ([], own)
    assert taken(CHAT, made, **own, enable_thinking=False) == ([], own)
    assert refused(CHAT, made, enable_thinking="no").message == "'enable_thinking' must be true or false."
    for dialect, bounds in ((CHAT, limits(tmp_path, strict=True)), (RESPONSES, made)):
        assert "it goes into chat_template_kwargs" in refused(dialect, bounds, enable_thinking=True).message
    made.template_variables = frozenset()
    assert "it goes into chat_template_kwargs" in refused(CHAT, made, enable_thinking=True).message
