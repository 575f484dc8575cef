"""Which parameters each API takes where the gateway is strict: through, as a label, within bounds, or refused
by name with the mend. What is lenient stands in `test_harmless`."""

from __future__ import annotations

import contextlib
import gc
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from pydantic import JsonValue

from gateway.app import Gateway
from gateway.config.document import Config, JsonObject
from gateway.config.snapshot import EngineStatus, Snapshot, ToolChoices
from gateway.dialects.chat.dialect import CHAT, TEXT
from gateway.dialects.dialect import Dialect
from gateway.dialects.messages.dialect import COUNT_TOKENS, MESSAGES
from gateway.dialects.parameters import MAX_DEPTH, MAX_MEMBERS, Limits, value_of
from gateway.dialects.registry import DIALECTS
from gateway.dialects.request_body import decode_body, fields_of
from gateway.dialects.responses.dialect import RESPONSES
from gateway.dialects.tokens.dialect import DETOKENIZE, EMBEDDINGS, TOKENIZE
from gateway.dialects.tools import MAX_TOOLS
from gateway.errors import InvalidRequest
from gateway.routing.table import Loaded, build_table
from tests.support.stack import config_of

FUNCTION = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}


def limits(
    folder: Path, context: int | None = 2048, snapshot: Snapshot | None = None, **base: object
) -> Limits:
    config = config_of(folder)
    strict = config.gateway.model_copy(update={"parameters": "strict"})
    config = config.model_copy(update={"base": config.base.model_copy(update=base), "gateway": strict})
    return Limits(config, lambda: context, lambda: snapshot or Snapshot())


def check(dialect: Dialect, made: Limits, **fields: object) -> None:
    if dialect is MESSAGES:
        fields = {"max_tokens": 5, **fields}
    assert dialect.check_fields(decode_body(json.dumps(fields).encode()), made) == []


def refused(dialect: Dialect, made: Limits, **fields: object) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as raised:
        check(dialect, made, **fields)
    return raised.value


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda one: one.name)
def test_a_parameter_is_in_one_list_only_and_each_rule_belongs_to_one_that_is_taken(dialect: Dialect) -> None:
    assert not dialect.passed & dialect.labels - {"service_tier", "store", "prompt_cache_key", "metadata"}
    assert not dialect.refused.keys() & (dialect.passed | dialect.labels)
    assert not dialect.ignored.keys() & (dialect.passed | dialect.labels | dialect.refused.keys())
    assert dialect.rules.keys() <= dialect.passed | dialect.labels | dialect.refused.keys()


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda one: one.name)
def test_unknown_name_is_a_400_with_the_nearest_spelling(tmp_path: Path, dialect: Dialect) -> None:
    known = sorted(dialect.plain)[0]
    error = refused(dialect, limits(tmp_path), **{known + "x": 1})
    assert (error.status, error.code, error.param) == (400, "unsupported_parameter", known + "x")
    assert f"did you mean '{known}'?" in error.message
    long = "x" * 10_000
    assert len(refused(dialect, limits(tmp_path), **{long: 1}).message) < 300


def test_misspelt_sampling_is_found(tmp_path: Path) -> None:
    assert "'temperature'" in refused(CHAT, limits(tmp_path), temprature=0).message
    assert "'max_output_tokens'" in refused(RESPONSES, limits(tmp_path), max_ouput_tokens=3).message
    assert "'stop_sequences'" in refused(MESSAGES, limits(tmp_path), stop_sequence=["x"]).message


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda one: one.name)
def test_every_refusal_names_its_parameter_and_null_asks_for_nothing(
    tmp_path: Path, dialect: Dialect
) -> None:
    for key in dialect.refused.keys() | dialect.ignored.keys():
        error = refused(dialect, limits(tmp_path), **{key: {}})
        assert (error.code, error.param) == ("unsupported_parameter", key)
        assert error.message.startswith(f"'{key}' is not supported: ")
        check(dialect, limits(tmp_path), **{key: None})


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda one: one.name)
@pytest.mark.parametrize(
    "key", ["api_base", "base_url", "api_key", "chat_template", "priority", "vllm_xargs"]
)
def test_what_is_the_gateways_alone_is_refused_by_every_api(
    tmp_path: Path, dialect: Dialect, key: str
) -> None:
    assert refused(dialect, limits(tmp_path), **{key: "x"}).param == key


LABELS: list[tuple[Dialect, dict[str, Any]]] = [
    (
        CHAT,
        {
            "user": "u",
            "metadata": {"a": "b"},
            "store": False,
            "service_tier": "auto",
            "safety_identifier": "s",
            "prompt_cache_key": "k",
            "modalities": ["text"],
            "verbosity": "medium",
            "best_of": 1,
        },
    ),
    (TEXT, {"user": "u", "best_of": 1, "service_tier": "default", "store": None}),
    (
        RESPONSES,
        {
            "store": False,
            "background": False,
            "service_tier": "auto",
            "include": ["reasoning.encrypted_content"],
            "stream_options": {"include_obfuscation": False},
            "metadata": {},
            "max_tool_calls": 3,
            "text": {"format": {"type": "text"}, "verbosity": "medium"},
        },
    ),
    (
        MESSAGES,
        {"metadata": {"user_id": "u"}, "service_tier": "auto", "cache_control": {"type": "ephemeral"}},
    ),
]


@pytest.mark.parametrize(("dialect", "fields"), LABELS, ids=[one.name for one, _ in LABELS])
def test_labels_are_taken(tmp_path: Path, dialect: Dialect, fields: dict[str, Any]) -> None:
    check(dialect, limits(tmp_path), **fields)


@pytest.mark.parametrize(
    ("dialect", "fields"),
    [
        (CHAT, {"store": True}),
        (CHAT, {"service_tier": "flex"}),
        (CHAT, {"modalities": ["text", "audio"]}),
        (CHAT, {"verbosity": "low"}),
        (CHAT, {"best_of": 2}),
        (CHAT, {"best_of": True}),
        (TEXT, {"best_of": 1_000_000}),
        (RESPONSES, {"store": True}),
        (RESPONSES, {"background": True}),
        (RESPONSES, {"stream_options": {"include_obfuscation": True}}),
        (RESPONSES, {"include": ["file_search_call.results"]}),
        (RESPONSES, {"tool_choice": {"type": "web_search"}}),
        (MESSAGES, {"service_tier": "priority"}),
        (MESSAGES, {"speed": "fast"}),
    ],
)
def test_a_labels_value_that_asks_for_something_is_refused(
    tmp_path: Path, dialect: Dialect, fields: dict[str, Any]
) -> None:
    error = refused(dialect, limits(tmp_path), **fields)
    assert (error.code, error.param) == ("unsupported_parameter", next(iter(fields)))


@pytest.mark.parametrize(
    ("dialect", "key", "value"),
    [
        *((CHAT, "n", value) for value in (0, 17, 1_000_000, "x", 1.5, True, [3])),
        *((TEXT, "n", value) for value in (0, 17)),
        *((CHAT, key, -1) for key in ("top_logprobs", "prompt_logprobs")),
        (TEXT, "logprobs", 21),
        (RESPONSES, "top_logprobs", 21),
        *(
            (CHAT, key, value)
            for key in ("max_tokens", "max_completion_tokens")
            for value in (0, -1, 2049, "x")
        ),
        (RESPONSES, "max_output_tokens", 2049),
        (RESPONSES, "max_output_tokens", 1e9),
        (MESSAGES, "max_tokens", 2049),
        (MESSAGES, "max_tokens", True),
    ],
)
def test_counts_beyond_their_bound_are_refused(
    tmp_path: Path, dialect: Dialect, key: str, value: object
) -> None:
    assert refused(dialect, limits(tmp_path), **{key: value}).param == key


def test_counts_within_their_bound_pass(tmp_path: Path) -> None:
    made = limits(tmp_path)
    check(CHAT, made, n=16, logprobs=True, top_logprobs=20, max_tokens=2048, max_completion_tokens=None)
    check(TEXT, made, logprobs=0, prompt_logprobs=20, n=None)
    check(CHAT, limits(tmp_path, None), max_tokens=1_000_000)  # before an engine has told its context


@pytest.mark.parametrize(
    ("dialect", "key"),
    [
        *((CHAT, key) for key in ("n", "max_tokens", "max_completion_tokens", "top_logprobs")),
        (TEXT, "logprobs"),
        (RESPONSES, "max_output_tokens"),
        (MESSAGES, "max_tokens"),
    ],
)
def test_a_whole_number_may_be_written_with_a_fraction_of_zero(
    tmp_path: Path, dialect: Dialect, key: str
) -> None:
    """As the engine takes it; all that look at it later see it written plainly."""
    for written in (b"8.0", b"0.8e1"):
        fields = {key: msgspec.Raw(written)}
        if dialect is MESSAGES:
            fields = {"max_tokens": msgspec.Raw(b"5"), **fields}
        assert dialect.check_fields(fields, limits(tmp_path)) == []
        assert bytes(fields[key]) == b"8"
        assert dialect.length_of(fields) in (None, (key, 8))


def test_anthropics_max_tokens_is_required(tmp_path: Path) -> None:
    for fields in ({}, {"max_tokens": None}):
        with pytest.raises(InvalidRequest, match="max_tokens: Field required"):
            MESSAGES.check_fields(
                {key: json.dumps(value).encode() for key, value in fields.items()},  # type: ignore[misc]
                limits(tmp_path),
            )
    check(COUNT_TOKENS, limits(tmp_path), model="m", messages=[])


def nested(levels: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(levels):
        schema = {"items": schema}
    return schema


@pytest.mark.parametrize(
    ("dialect", "key", "wrap"),
    [
        (CHAT, "response_format", lambda schema: {"json_schema": {"schema": schema}}),
        (CHAT, "structured_outputs", lambda schema: {"json": schema}),
        (CHAT, "tools", lambda schema: [{"type": "function", "function": {"parameters": schema}}]),
        (TEXT, "structured_outputs", lambda schema: {"json": schema}),
        (RESPONSES, "text", lambda schema: {"format": {"type": "json_schema", "schema": schema}}),
        (RESPONSES, "tools", lambda schema: [{"type": "function", "parameters": schema}]),
        (MESSAGES, "tools", lambda schema: [{"name": "f", "input_schema": schema}]),
        (MESSAGES, "output_config", lambda schema: {"format": {"schema": schema}}),
        (COUNT_TOKENS, "tools", lambda schema: [{"name": "f", "input_schema": schema}]),
        (TOKENIZE, "tools", lambda schema: [{"type": "function", "function": {"parameters": schema}}]),
    ],
)
def test_schemas_are_bounded_in_size_depth_and_members(
    tmp_path: Path, dialect: Dialect, key: str, wrap: Any
) -> None:
    made = limits(tmp_path, tool_call_parser="hermes")
    check(dialect, made, **{key: wrap(nested(10))})
    deep = refused(dialect, made, **{key: wrap(nested(MAX_DEPTH))})
    assert (deep.param, "nested deeper" in deep.message) == (key, True)
    wide = refused(dialect, made, **{key: wrap({f"p{i}": {} for i in range(MAX_MEMBERS + 1)})})
    assert (wide.param, "members" in wide.message) == (key, True)
    size, bound = (1_100_000, "tools") if key == "tools" else (70_000, "schema")
    large = refused(dialect, made, **{key: wrap({"description": "x" * size})})
    assert (large.param, f"gateway.max_{bound}_bytes" in large.message) == (key, True)


def test_a_structured_output_is_of_a_known_kind_and_its_engine_no_clients_choice(tmp_path: Path) -> None:
    made = limits(tmp_path)
    check(CHAT, made, structured_outputs={"regex": "[a-z]+"})
    for value in ({"_backend": "guidance"}, {"backend": "outlines"}):
        assert refused(CHAT, made, structured_outputs=value).code == "unsupported_parameter"
    assert "4096" in refused(CHAT, made, structured_outputs={"regex": "a" * 5000}).message
    assert refused(CHAT, made, structured_outputs=[]).param == "structured_outputs"
    assert "structured_outputs" in refused(CHAT, made, guided_json={}).message


TOOLS: list[tuple[Dialect, Any, Any, Any]] = [
    (CHAT, FUNCTION, "none", "auto"),
    (RESPONSES, {"type": "function", "name": "f"}, "none", "required"),
    (MESSAGES, {"name": "f", "input_schema": {}}, {"type": "none"}, {"type": "any"}),
]


@pytest.mark.parametrize(("dialect", "tool", "none", "some"), TOOLS, ids=[one[0].name for one in TOOLS])
def test_tools_without_a_parser_name_the_key_that_is_missing(
    tmp_path: Path, dialect: Dialect, tool: object, none: object, some: object
) -> None:
    made = limits(tmp_path, tool_call_parser=None)
    for fields in ({}, {"tool_choice": some}):
        error = refused(dialect, made, tools=[tool], **fields)
        assert (error.param, error.code) == ("tools", "unsupported_parameter")
        assert "base.tool_call_parser" in error.message
    check(dialect, made, tools=[tool], tool_choice=none)
    check(dialect, made, tools=[])
    check(dialect, limits(tmp_path, tool_call_parser="hermes"), tools=[tool], tool_choice=some)


FORCED: list[tuple[Dialect, Any, Any, list[Any]]] = [
    (CHAT, FUNCTION, "auto", ["required", {"type": "function", "function": {"name": "f"}}, "none"]),
    (RESPONSES, {"type": "function", "name": "f"}, "auto", ["required", {"type": "function", "name": "f"}]),
    (
        MESSAGES,
        {"name": "f", "input_schema": {}},
        {"type": "auto"},
        [{"type": "any"}, {"type": "tool", "name": "f"}],
    ),
]


@pytest.mark.parametrize(("dialect", "tool", "free", "forced"), FORCED, ids=[one[0].name for one in FORCED])
def test_without_a_parser_of_the_bases_own_only_a_free_choice_is_refused(
    tmp_path: Path, dialect: Dialect, tool: object, free: object, forced: list[object]
) -> None:
    told = EngineStatus("engine-0", tools="forced")
    made = limits(tmp_path, snapshot=Snapshot(engines=[told]))
    for fields in ({}, {"tool_choice": free}):
        error = refused(dialect, made, tools=[tool], **fields)
        assert (error.param, error.code) == ("tools", "unsupported_parameter")
        assert "base.tool_call_parser" in error.message
    for choice in forced:
        check(dialect, made, tools=[tool], tool_choice=choice)


def test_what_engines_tell_of_tools_is_what_all_of_them_can_do() -> None:
    def told(*choices: ToolChoices) -> str:
        return Snapshot(engines=[EngineStatus(str(n), tools=one) for n, one in enumerate(choices)]).tools

    assert [told(), told("all"), told("all", "forced"), told("none", "all"), told("all", "")] == [
        "", "all", "forced", "none", "",
    ]  # fmt: skip
    able = [Snapshot(engines=[EngineStatus("a", reasoning=one)]).reasoning for one in (True, False, None)]
    assert able == [True, False, None]


@pytest.mark.parametrize(
    ("dialect", "kind"),
    [
        *((RESPONSES, kind) for kind in ("web_search", "mcp", "file_search", "code_interpreter", None)),
        *((MESSAGES, kind) for kind in ("web_search_20250305", "bash_20250124", "function")),
        (CHAT, "web_search"),
        (CHAT, None),
    ],
)
def test_tools_that_run_on_the_server_are_refused(tmp_path: Path, dialect: Dialect, kind: str | None) -> None:
    made = limits(tmp_path, tool_call_parser="hermes")
    good = {"type": "custom", "name": "f"}
    if dialect is CHAT:
        good = FUNCTION  # type: ignore[assignment]
    error = refused(dialect, made, tools=[good, {"type": kind, "name": "x"}])
    assert (error.param, error.code) == ("tools[1].type", "unsupported_parameter")


def test_tools_of_another_form_are_refused(tmp_path: Path) -> None:
    made = limits(tmp_path, tool_call_parser="hermes")
    assert refused(CHAT, made, tools={"a": 1}).param == "tools"
    assert refused(CHAT, made, tools=["f"]).param == "tools[0]"
    assert str(MAX_TOOLS) in refused(CHAT, made, tools=[FUNCTION] * (MAX_TOOLS + 1)).message


def with_schema(dialect: Dialect, schema: object) -> dict[str, object]:
    if dialect in (CHAT, TOKENIZE):
        return {"type": "function", "function": {"name": "f", "parameters": schema}}
    if dialect is RESPONSES:
        return {"type": "function", "name": "f", "parameters": schema}
    return {"name": "f", "input_schema": schema}


@pytest.mark.parametrize(
    ("dialect", "param"),
    [
        (CHAT, "function.parameters"),
        (TOKENIZE, "function.parameters"),
        (RESPONSES, "parameters"),
        (MESSAGES, "input_schema"),
        (COUNT_TOKENS, "input_schema"),
    ],
    ids=lambda one: getattr(one, "name", None),
)
def test_a_tool_whose_schema_is_none_is_refused_as_openai_does(
    tmp_path: Path, dialect: Dialect, param: str
) -> None:
    made = limits(tmp_path, tool_call_parser="hermes")
    good = with_schema(dialect, {"type": "object", "properties": {"a": {"type": "string"}}})
    check(dialect, made, tools=[good])
    error = refused(
        dialect, made, tools=[good, with_schema(dialect, {"properties": {"a": {"type": "text"}}})]
    )
    assert (error.param, error.code) == (f"tools[1].{param}", "invalid_function_parameters")
    assert error.message.startswith(
        "Invalid schema for function 'f': at properties.a.type, 'text' is no type"
    )
    assert "a schema is an object" in refused(dialect, made, tools=[with_schema(dialect, "x")]).message


@pytest.mark.parametrize("dialect", [CHAT, RESPONSES, MESSAGES, TOKENIZE, EMBEDDINGS], ids=lambda d: d.name)
def test_template_variables_are_those_of_the_configuration(tmp_path: Path, dialect: Dialect) -> None:
    made = limits(tmp_path)
    check(dialect, made, chat_template_kwargs={"enable_thinking": False})
    error = refused(dialect, made, chat_template_kwargs={"chat_template": "{{ x }}"})
    assert error.param == "chat_template_kwargs.chat_template"
    assert "gateway.template_variables" in error.message
    assert (
        refused(dialect, made, chat_template_kwargs={"enable_thinking": {"a": 1}}).code == "invalid_request"
    )
    assert refused(dialect, made, chat_template_kwargs=[1]).param == "chat_template_kwargs"


def test_a_budget_for_thinking_needs_a_parser_of_reasoning(tmp_path: Path) -> None:
    made, able = limits(tmp_path, reasoning_parser=None), limits(tmp_path, reasoning_parser="qwen3")
    for dialect, fields in (
        (CHAT, {"thinking_token_budget": 10}),
        (MESSAGES, {"thinking": {"type": "enabled", "budget_tokens": 1024}}),
    ):
        assert "base.reasoning_parser" in refused(dialect, made, **fields).message
        check(dialect, able, **fields)
    check(MESSAGES, made, thinking={"type": "disabled"})


def test_references_to_what_is_kept_nowhere_are_refused(tmp_path: Path) -> None:
    error = refused(RESPONSES, limits(tmp_path), input=[{"type": "item_reference", "id": "msg_1"}])
    assert (error.param, error.code) == ("input[0]", "unsupported_parameter")
    check(RESPONSES, limits(tmp_path), input="what is an item_reference?")


@pytest.mark.parametrize(
    ("dialect", "fields", "param"),
    [
        (CHAT, {"stream": True, "stream_options": {"include_usge": True}}, "stream_options.include_usge"),
        (
            CHAT,
            {"stream": True, "stream_options": {"include_obfuscation": True}},
            "stream_options.include_obfuscation",
        ),
        (TEXT, {"stream": True, "stream_options": {"foo": 1}}, "stream_options.foo"),
        (TEXT, {"stream_options": {"include_usage": True}}, "stream_options"),
        (RESPONSES, {"reasoning": {"efort": "low"}}, "reasoning.efort"),
        (MESSAGES, {"output_config": {"formt": {}}}, "output_config.formt"),
        (COUNT_TOKENS, {"output_config": {"foo": 1}}, "output_config.foo"),
        (MESSAGES, {"metadata": {"user": "u"}}, "metadata.user"),
    ],
)
def test_a_member_that_the_engine_would_ignore_is_refused(
    tmp_path: Path, dialect: Dialect, fields: dict[str, Any], param: str
) -> None:
    error = refused(dialect, limits(tmp_path), **fields)
    assert (error.param, error.code) == (param, "unsupported_parameter")


def test_members_that_there_are_pass(tmp_path: Path) -> None:
    made = limits(tmp_path)
    options = {"include_usage": True, "continuous_usage_stats": True, "include_obfuscation": False}
    check(CHAT, made, stream=True, stream_options=options)
    check(TEXT, made, stream_options=None)
    check(RESPONSES, made, reasoning={"effort": "low", "summary": None})
    check(MESSAGES, made, metadata={"user_id": None}, output_config={"effort": "low"})


@pytest.mark.parametrize(
    ("dialect", "fields"),
    [
        *((one, {"metadata": "x"}) for one in (CHAT, TEXT, RESPONSES, EMBEDDINGS)),
        *((one, {"user": 5}) for one in (CHAT, TEXT, RESPONSES, EMBEDDINGS)),
        (MESSAGES, {"metadata": ["u"]}),
        (CHAT, {"safety_identifier": {}}),
        (CHAT, {"prompt_cache_key": 7}),
        (CHAT, {"logprobs": 3}),
        (CHAT, {"logprobs": "yes"}),
        (CHAT, {"stream_options": [1]}),
        (RESPONSES, {"reasoning": "low"}),
        (MESSAGES, {"output_config": []}),
    ],
)
def test_values_of_another_type_are_refused(tmp_path: Path, dialect: Dialect, fields: dict[str, Any]) -> None:
    error = refused(dialect, limits(tmp_path), **fields)
    assert (error.param, error.code) == (next(iter(fields)), "invalid_request")


def test_anthropics_choice_among_no_tools_and_a_talk_without_messages_are_refused(tmp_path: Path) -> None:
    made = limits(tmp_path, tool_call_parser="hermes")
    for choice in ({"type": "any"}, {"type": "tool", "name": "f"}):
        assert refused(MESSAGES, made, tool_choice=choice).param == "tool_choice"
    check(MESSAGES, made, tool_choice={"type": "auto"})
    assert "at least one message" in refused(MESSAGES, made, messages=[]).message


def test_another_apis_name_for_the_prompt_is_told(tmp_path: Path) -> None:
    made = limits(tmp_path)
    assert "its name is messages" in refused(CHAT, made, prompt="x").message
    assert "its name is messages" in refused(CHAT, made, input="x").message
    assert "its name is prompt" in refused(TEXT, made, messages=[]).message
    assert "top of the body" in refused(CHAT, made, extra_body={"top_k": 3}).message


@pytest.mark.parametrize("dialect", [TOKENIZE, DETOKENIZE], ids=lambda d: d.name)
def test_the_base_is_meant_where_no_model_is_named(dialect: Dialect) -> None:
    assert dialect.model_of({}, "base") == "base"
    assert dialect.model_of({"model": b"null"}, "base") == "base"  # type: ignore[dict-item]
    assert dialect.model_of({"model": b'"naming"'}, "base") == "naming"  # type: ignore[dict-item]
    with pytest.raises(InvalidRequest, match="'model' is required"):
        CHAT.model_of({}, "base")


def test_a_tasks_defaults_that_an_api_cannot_carry_are_known() -> None:
    defaults = ["temperature", "max_tokens", "stop", "seed", "reasoning_effort", "min_tokens"]
    assert CHAT.unwritten(defaults) == []
    assert RESPONSES.unwritten(defaults) == ["min_tokens"]
    assert MESSAGES.unwritten(defaults) == ["min_tokens", "seed"]


@pytest.mark.anyio
async def test_they_are_said_at_the_start(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    document = config_of(tmp_path).model_dump(mode="json", by_alias=True)
    document["tasks"]["naming"]["defaults"] = {"seed": 1, "stop": "x", "reasoning_effort": "low"}
    Gateway(Config.model_validate(document))
    said = [record.getMessage() for record in caplog.records if record.name == "gateway.app"]
    assert said == [
        "tasks.naming.defaults: /v1/completions has no reasoning_effort, so it is left out there",
        "tasks.naming.defaults: /v1/messages has no seed, so it is left out there",
    ]


ANSWERS: Sequence[Dialect] = (CHAT, RESPONSES, MESSAGES)


def with_defaults(
    folder: Path, defaults: JsonObject, dialects: Sequence[Dialect] = ANSWERS, /, **asked: JsonValue
) -> dict[str, Any]:
    """What each API's engine route is asked with a task's defaults, where a client asks this."""
    document = config_of(folder).model_dump(mode="json", by_alias=True)
    document["tasks"]["naming"] |= {"defaults": defaults, "schema": None}
    config = Config.model_validate(document)
    route = build_table(config, {"naming": [Loaded("naming@1")]}).routes["naming"]
    written: dict[str, Any] = {}
    for dialect in dialects:
        fields = fields_of(asked)
        dialect.apply_contract(fields, route)
        written[dialect.name] = {key: json.loads(bytes(value)) for key, value in fields.items()}
    return written


def test_a_tasks_defaults_are_written_by_their_own_names(tmp_path: Path) -> None:
    written = with_defaults(tmp_path, {"seed": 1, "stop": "x", "reasoning_effort": "low"})
    assert written["responses"]["reasoning"] == {"effort": "low"}
    assert (written["responses"]["seed"], written["responses"]["stop"]) == (1, "x")
    assert written["messages"]["output_config"]["effort"] == "low"
    assert written["messages"]["stop_sequences"] == ["x"]
    assert "seed" not in written["messages"]


@pytest.mark.parametrize(
    ("effort", "asked", "sent"),
    [
        ("none", {}, {"thinking": {"type": "disabled"}}),
        ("none", {"output_config": {"effort": "high"}}, {"output_config": {"effort": "high"}}),
        ("none", {"thinking": {"type": "adaptive"}}, {"thinking": {"type": "adaptive"}}),
        ("minimal", {}, {"output_config": {"effort": "low"}}),
        (
            "minimal",
            {"thinking": {"type": "disabled"}},
            {"thinking": {"type": "disabled"}} | {"output_config": {"effort": "low"}},
        ),
    ],
)
def test_an_effort_that_anthropics_api_has_not_is_said_in_its_words(
    tmp_path: Path, effort: str, asked: JsonObject, sent: JsonObject
) -> None:
    written = with_defaults(tmp_path, {"reasoning_effort": effort}, **asked)["messages"]
    assert {key: written[key] for key in ("thinking", "output_config") if key in written} == sent
    assert with_defaults(tmp_path, {"reasoning_effort": effort})["responses"]["reasoning"] == {
        "effort": effort
    }


CITY: JsonObject = {"type": "object", "properties": {"city": {"type": "string"}}}
SHOWN: JsonObject = {"name": "f", "description": "d", "parameters": CITY, "strict": True}
GIVEN: JsonObject = {
    "tools": [{"type": "function", "function": SHOWN}, {"type": "function", "function": {"name": "g"}}],
    "tool_choice": {"type": "function", "function": {"name": "f"}},
}


def test_a_tasks_tools_are_written_as_each_api_has_them(tmp_path: Path) -> None:
    written = with_defaults(tmp_path, GIVEN)
    assert {key: written["chat"][key] for key in GIVEN} == GIVEN
    assert written["responses"]["tools"] == [
        {"type": "function", **SHOWN},
        {"type": "function", "name": "g"},
    ]
    assert written["responses"]["tool_choice"] == {"type": "function", "name": "f"}
    assert written["messages"]["tools"] == [
        {"name": "f", "description": "d", "input_schema": CITY, "strict": True},
        {"name": "g", "input_schema": {"type": "object"}},
    ]
    assert written["messages"]["tool_choice"] == {"type": "tool", "name": "f"}
    own: JsonObject = {"tools": [{"name": "mine"}], "tool_choice": "auto"}
    for sent in with_defaults(tmp_path, GIVEN, **own).values():
        assert {key: sent[key] for key in own} == own


def test_a_prompt_is_counted_with_what_a_tasks_defaults_add_to_it(tmp_path: Path) -> None:
    """Else a count would be less than the answer's own: of two tools by a hundred tokens."""
    template: JsonObject = {"enable_thinking": False}
    defaults: JsonObject = {**GIVEN, "chat_template_kwargs": template, "reasoning_effort": "low", "seed": 1}
    asked: JsonObject = {"messages": [{"role": "user", "content": "x"}]}
    whole = with_defaults(tmp_path, defaults, **asked)
    counted = with_defaults(tmp_path, {**defaults, "max_tokens": 9}, (COUNT_TOKENS, TOKENIZE), **asked)
    makes_it = {"tools", "tool_choice", "chat_template_kwargs", "output_config"}
    shared = {"model", "messages", "system"}
    assert counted["count_tokens"].keys() == makes_it | shared
    assert counted["count_tokens"] == {key: whole["messages"][key] for key in makes_it | shared}
    shown = {key: whole["chat"][key] for key in ("model", "messages", "tools", "chat_template_kwargs")}
    assert counted["tokenize"] == shown
    assert with_defaults(tmp_path, defaults, (TOKENIZE,), prompt="x")["tokenize"].keys() == {
        "model",
        "prompt",
    }


@pytest.mark.parametrize("choice", ["none", "auto", "required", None])
def test_a_tasks_choice_of_tools_is_a_word_or_a_type(tmp_path: Path, choice: str | None) -> None:
    written = with_defaults(tmp_path, {"tool_choice": choice}, tools=GIVEN["tools"])
    kinds = {"required": "any"}
    assert written["chat"].get("tool_choice") == choice
    assert written["responses"].get("tool_choice") == choice
    assert written["messages"].get("tool_choice") == (choice and {"type": kinds.get(choice, choice)})


@pytest.mark.parametrize("choice", ["none", "auto", "required", GIVEN["tool_choice"]])
def test_a_tasks_choice_among_no_tools_is_none(tmp_path: Path, choice: JsonValue) -> None:
    for sent in with_defaults(tmp_path, {"tool_choice": choice, "seed": 1}).values():
        assert sent.keys().isdisjoint(GIVEN)
    assert with_defaults(tmp_path, {"tool_choice": choice, "seed": 1})["chat"]["seed"] == 1


def test_a_tasks_function_is_not_chosen_among_a_clients_tools(tmp_path: Path) -> None:
    for sent in with_defaults(tmp_path, GIVEN, tools=[{"name": "mine"}]).values():
        assert sent["tools"] == [{"name": "mine"}]
        assert "tool_choice" not in sent
    for sent in with_defaults(tmp_path, GIVEN, tool_choice="auto").values():
        assert sent["tool_choice"] == "auto"


def checked_with_tools(folder: Path, dialect: Dialect, **asked: JsonValue) -> JsonObject:
    """What the engine is asked where a task shows tools of its own, once the client's were looked at."""
    document = config_of(folder).model_dump(mode="json", by_alias=True)
    document["tasks"]["naming"] |= {"defaults": {"tools": GIVEN["tools"]}, "schema": None}
    route = build_table(Config.model_validate(document), {"naming": [Loaded("naming@1")]}).routes["naming"]
    needed: JsonObject = {"max_tokens": 5} if dialect is MESSAGES else {}
    fields = fields_of({**needed, **asked})
    limits = Limits(
        config_of(folder), lambda: 2048, lambda: Snapshot(engines=[EngineStatus("a", tools="all")])
    )
    dialect.check_fields(fields, limits, route.contract)
    dialect.apply_contract(fields, route)
    return {key: json.loads(bytes(value)) for key, value in fields.items()}


@pytest.mark.parametrize("choice", ["none", "auto", "required", {"type": "function", "name": "g"}])
@pytest.mark.parametrize("tools", [{}, {"tools": []}])
@pytest.mark.parametrize("dialect", ANSWERS)
def test_a_client_without_tools_chooses_among_the_tasks(
    tmp_path: Path, dialect: Dialect, choice: JsonValue, tools: JsonObject
) -> None:
    """It may want none of them; else a model would call what nobody is there to answer."""
    sent = checked_with_tools(tmp_path, dialect, tool_choice=choice, **tools)
    assert sent["tools"] == with_defaults(tmp_path, {"tools": GIVEN["tools"]})[dialect.name]["tools"]
    written = sent["tool_choice"]
    meant = written["type"] if isinstance(written, dict) else written
    wanted = choice["type"] if isinstance(choice, dict) else choice
    assert {"any": "required", "tool": "function"}.get(str(meant), meant) == wanted


@pytest.mark.parametrize("dialect", ANSWERS)
def test_a_clients_own_tools_stand_in_for_the_tasks(tmp_path: Path, dialect: Dialect) -> None:
    inner: JsonObject = {"name": "mine", "input_schema": CITY} if dialect is MESSAGES else {"name": "mine"}
    own: JsonObject = {"type": "function", "function": inner} if dialect is CHAT else inner
    if dialect is RESPONSES:
        own = {"type": "function", **inner}
    assert checked_with_tools(tmp_path, dialect, tool_choice="auto", tools=[own])["tools"] == [own]


@pytest.mark.parametrize(
    ("asked", "sent"),
    [
        ({"tools": [{"name": "f"}]}, {"type": "auto", "disable_parallel_tool_use": True}),
        (
            {"tools": [{"name": "f"}], "tool_choice": {"type": "any"}},
            {"type": "any", "disable_parallel_tool_use": True},
        ),
        (
            {"tools": [{"name": "f"}], "tool_choice": {"type": "any", "disable_parallel_tool_use": False}},
            {"type": "any", "disable_parallel_tool_use": False},
        ),
        ({}, None),
    ],
)
def test_one_call_at_a_time_is_said_in_anthropics_words(
    tmp_path: Path, asked: JsonObject, sent: JsonObject | None
) -> None:
    written = with_defaults(tmp_path, {"parallel_tool_calls": False}, (MESSAGES,), **asked)["messages"]
    assert written.get("tool_choice") == sent
    assert MESSAGES.unwritten(["parallel_tool_calls"]) == []


def test_a_prompts_completion_gets_what_it_has_a_parameter_for(tmp_path: Path) -> None:
    """vLLM overlooks what it has not: an answer would end after 16 tokens."""
    defaults: JsonObject = {**GIVEN, "max_completion_tokens": 300, "max_tokens": 200, "seed": 1}
    written = with_defaults(tmp_path, {**defaults, "reasoning_effort": "low"}, (TEXT,))["completions"]
    assert written == {"model": "naming@1", "max_tokens": 300, "seed": 1}
    own = with_defaults(tmp_path, defaults, (TEXT,), max_tokens=5)["completions"]
    assert (own["max_tokens"], own["seed"]) == (5, 1)


MANY = json.dumps([[]] * 30_000)
LOOKED_INTO = [
    *("tool_choice", "chat_template_kwargs", "best_of", "modalities", "web_search_options", "service_tier"),
    *("stream_options", "function_call", "thinking_token_budget"),
]


@pytest.mark.parametrize("key", LOOKED_INTO)
def test_no_large_value_is_made_of_a_parameter(key: str, tmp_path: Path) -> None:
    fields = decode_body(f'{{"{key}":{MANY}}}'.encode())
    with pytest.raises(InvalidRequest, match=r"bytes; it may have 65536\."):
        CHAT.check_fields(fields, Limits(config_of(tmp_path), lambda: 2048))


def test_large_metadata_are_nobodys_to_look_into(tmp_path: Path) -> None:
    limits = Limits(config_of(tmp_path), lambda: 2048)
    assert CHAT.check_fields(decode_body(f'{{"metadata":{{"a":{MANY}}}}}'.encode()), limits) == []
    for wrong in ("[]", "5", '"{}"', "true"):
        with pytest.raises(InvalidRequest, match="must be an object"):
            CHAT.check_fields(decode_body(f'{{"metadata":{wrong}}}'.encode()), limits)


def test_the_collector_goes_on_after_a_large_conversation() -> None:
    for text in (MANY, "[" * 70_000):
        with contextlib.suppress(InvalidRequest):
            value_of("messages", {"messages": msgspec.Raw(text.encode())}, None)
        assert gc.isenabled()
