"""Anthropic's `/v1/messages` and `/v1/messages/count_tokens`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from types import MappingProxyType

import msgspec

from gateway.dialects.chat.conversion import Conversion
from gateway.dialects.cost.lists import TEXTS
from gateway.dialects.dialect import UNSEEN, Asked, Dialect, ListedModel, one_line
from gateway.dialects.harmless import (
    ignore,
    members,
    refused_but_for,
    wish,
)
from gateway.dialects.kinds import GATEWAYS_OWN, HARMLESS
from gateway.dialects.media import no_strange_addresses
from gateway.dialects.messages import described, thinking, tool_choice
from gateway.dialects.messages.envelopes import envelope, model_entry, model_list, reworded
from gateway.dialects.messages.from_chat import MessageRendering
from gateway.dialects.messages.history import continued, readable
from gateway.dialects.messages.said import MessageReader
from gateway.dialects.messages.to_chat import chat_of_message
from gateway.dialects.messages.tool_changes import TOOLS
from gateway.dialects.parameters import (
    Limits,
    checked,
    template_variables,
    tokens,
    unsupported,
    value_of,
)
from gateway.dialects.prompt_faults import Form
from gateway.dialects.request_body import Fields, encode_fields, given, raw_of, says_system, with_member
from gateway.dialects.tools import functions_of
from gateway.errors import NOT_JSON, InvalidRequest, RequestError
from gateway.http.engine_connection import Segments
from gateway.http.event_stream import EventStream, NamedEvents, TokenUsage
from gateway.routing.table import Contract, Route

_EMPTY = re.compile(rb"\[\s*\]")
_encode = msgspec.json.Encoder().encode
FORM = Form(
    ("text",),
    frozenset(
        {
            *("text", "tool_use", "tool_result", "tool_reference", "thinking", "redacted_thinking"),
            *("tool_addition", "tool_removal"),
        }
    ),
    roles=("user", "assistant", "system"),
    silent=False,
)
_ANY_ARGUMENTS = msgspec.Raw(b'{"type":"object"}')
_FALSE = msgspec.Raw(b"false")

_TEXT_ONLY = "the model reads and writes text here; leave it out."
_NO_ANSWER = "no answer is made that it could be for; leave it out."
_NOT_KEPT = "nothing is kept between two requests here; send the whole conversation in messages."
_NO_SUMMARY = "the answer would have to be a summary; ask for one in a message."
_NO_PLACE = "requests run in one place here; leave it out."
SHARED_REFUSED = MappingProxyType(
    {
        **{key: why for key, why in GATEWAYS_OWN.items() if key != "api_key"},
        "api_key": "the key goes into the header x-api-key.",
        "mcp_servers": "no tool runs on the server's side here; leave it out.",
        "thread": _NOT_KEPT,
    }
)
_HARMLESS = MappingProxyType(
    {
        "workspace_id": _NO_PLACE,
        "user_profile_id": "metadata.user_id names a user; leave it out.",
        "diagnostics": "nothing is kept that it could compare with; leave it out.",
    }
)


class _Fault(msgspec.Struct):
    message: str = ""


class _Refusal(msgspec.Struct):
    error: _Fault | None = None


class _Usage(msgspec.Struct):
    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_input_tokens: int | None = None
    cache_creation_input_tokens: int | None = None


class _Message(msgspec.Struct):
    usage: _Usage | None = None


class _Event(msgspec.Struct):
    message: _Message | None = None
    usage: _Usage | None = None


class _Metadata(msgspec.Struct):
    user_id: str | None = None


_decode_refusal = msgspec.json.Decoder(_Refusal).decode
_decode_message = msgspec.json.Decoder(_Message).decode
_decode_event = msgspec.json.Decoder(_Event).decode
_decode_metadata = msgspec.json.Decoder(_Metadata).decode


def _output_config(key: str, fields: Fields, limits: Limits) -> Sequence[str] | None:
    """The engine passes over a format without a schema, and the answer would be held to nothing."""
    value = checked(key, fields, limits)
    form = value.get("format") if isinstance(value, dict) else None
    if isinstance(form, dict) and not isinstance(form.get("schema"), dict):
        raise InvalidRequest(
            f"'{key}.format.schema' must be a JSON schema, an object.", param=f"{key}.format.schema"
        )
    return _OUTPUT_CONFIG(key, fields, limits)


_OUTPUT_CONFIG = members("effort", "format")


def _thread(key: str, fields: Fields, limits: Limits) -> Sequence[str]:
    """To go on with one is to have the rest of the conversation kept; to begin one asks that it be."""
    value = value_of(key, fields)
    if isinstance(value, dict) and value.get("type") == "create":
        return ignore(key, fields, limits, _NOT_KEPT)
    raise unsupported(key, f"'{key}' is not supported: {_NOT_KEPT}")


def _listed(stop: msgspec.Raw) -> msgspec.Raw:
    """OpenAI's `stop` may be one string."""
    return msgspec.Raw(b"[%b]" % bytes(stop)) if bytes(stop).startswith(b'"') else stop


def _tools(tools: msgspec.Raw) -> msgspec.Raw:
    """A chat's `tools`, of which a function may leave out its parameters."""
    functions = functions_of(tools)
    return raw_of([{"input_schema": each.pop("parameters", _ANY_ARGUMENTS), **each} for each in functions])


class _Anthropic(Dialect):
    """What both routes share."""

    id_header = b"request-id"
    api_key_header = True
    form = FORM
    renamed = MappingProxyType({"stop": "stop_sequences", "reasoning_effort": "output_config"})
    rewritten = MappingProxyType(
        {
            **dict.fromkeys(("stop", "stop_sequences"), _listed),
            "reasoning_effort": thinking.effort,
            "tools": _tools,
            "tool_choice": lambda choice: raw_of(tool_choice.respelled(msgspec.json.decode(choice))),
        }
    )

    def check_fields(self, fields: Fields, limits: Limits, contract: Contract | None = None) -> list[str]:
        # Before the rules: that for `tools` reads the choice too, and is asked first where it comes first.
        tool_choice.respell(fields, limits)
        return super().check_fields(fields, limits, contract)

    def sticky_of(self, fields: Fields) -> bytes | None:
        """The user in `metadata.user_id`, as JSON; None where none is named, or where it cannot be read."""
        try:
            user = _decode_metadata(fields["metadata"]).user_id if "metadata" in fields else None
        except NOT_JSON:
            return None  # the engine says what is wrong with it
        return _encode(user) if user else None

    def apply_contract(self, fields: Fields, route: Route) -> None:
        contract = route.contract
        fields["model"] = route.model_json
        own = given(fields, "system")
        if contract.system is not None and not own and not says_system(fields, "messages"):
            fields["system"] = contract.system
        self.take_defaults(fields, thinking.as_defaults(contract.defaults, fields), "output_config")
        if contract.defaults.get("parallel_tool_calls") == _FALSE and given(fields, "tools"):
            tool_choice.take_one_at_a_time(fields)

    def unwritten(self, defaults: Iterable[str]) -> list[str]:
        return [key for key in super().unwritten(defaults) if key != "parallel_tool_calls"]

    def give_priority(self, fields: Fields, priority: msgspec.Raw) -> None:
        """It has no such parameter."""

    def encode_body(self, fields: Fields, route: Route, received_bytes: int) -> Segments:
        return encode_fields(fields, received_bytes)

    def usage_of(self, answer: bytes) -> TokenUsage | None:
        try:
            usage = _decode_message(answer).usage
        except NOT_JSON:
            return None
        return _counted(usage) if usage else None

    def events(self, usage_wanted: bool) -> EventStream:
        return NamedEvents(_usage_in)

    def error_body(self, error: RequestError, request_id: bytes) -> bytes:
        # Anthropic's envelope has no codes: by these words clients know that a shorter prompt is worth a try.
        too_long = "prompt is too long: " if error.code == "context_length_exceeded" else ""
        return envelope(error.status, too_long + error.message, request_id)

    def model_entry(self, model: ListedModel) -> object:
        return model_entry(model)

    def model_list(self, models: list[ListedModel]) -> object:
        return model_list(models)

    def refusal(
        self, status: int, answer: bytes, request_id: bytes, asked: Asked = UNSEEN
    ) -> tuple[int, bytes]:
        """The engine's own words, which come in OpenAI's form or with types of its own."""
        status, answer = super().refusal(status, answer, request_id, asked)
        try:
            fault = _decode_refusal(answer).error
        except NOT_JSON:
            fault = None
        said = reworded(fault.message) if fault else ""
        return status, envelope(status, said or "The engine refused the request.", request_id)

    def last_event(self, error_body: bytes) -> bytes:
        return b"event: error\ndata: " + one_line(error_body) + b"\n\n"


class Messages(_Anthropic):
    """`/v1/messages`: which of Anthropic's parameters are passed on, mere labels or refused."""

    name = "messages"
    described = described.MESSAGES
    conversion = Conversion(chat_of_message, MessageRendering, MessageReader)
    passed = frozenset(
        {
            *("model", "messages", "system", "max_tokens", "metadata", "stop_sequences", "stream"),
            *("temperature", "top_k", "top_p", "tools", "tool_choice", "thinking", "output_config"),
            *("cache_salt", "chat_template_kwargs"),
        }
    )
    labels = frozenset({"cache_control", "service_tier", "speed"})
    lengths = ("max_tokens",)
    refused = MappingProxyType(
        {
            **SHARED_REFUSED,
            "container": _NO_PLACE,
            "inference_geo": _NO_PLACE,
            "stop": "its name is stop_sequences.",
            "max_completion_tokens": "its name is max_tokens.",
            "output_format": "its name is output_config.format.",
            "compaction": _NO_SUMMARY,
        }
    )
    harmless = _HARMLESS
    rules = MappingProxyType(
        {
            "max_tokens": tokens,
            "stop_sequences": TEXTS,
            "metadata": members("user_id"),
            "messages": no_strange_addresses(readable),
            "tools": TOOLS,
            "output_config": _output_config,
            "tool_choice": tool_choice.check,
            "thinking": thinking.thinking,
            "thread": _thread,
            "compaction": refused_but_for(why=_NO_SUMMARY),
            "chat_template_kwargs": template_variables,
            "service_tier": wish("auto", "standard_only", why="there is one tier; leave it out."),
            "inference_geo": refused_but_for("global", "", [], {}, why=_NO_PLACE),
            "speed": wish("standard", why=HARMLESS["speed"]),
        }
    )

    def check_fields(self, fields: Fields, limits: Limits, contract: Contract | None = None) -> list[str]:
        # Before the rules, which may take messages out: a place is told in the client's own count.
        last = () if limits.strict or "messages" not in fields else continued("messages", fields)
        ignored = super().check_fields(fields, limits, contract)
        ignored += last
        # Rules see only what is there. Both errors are in the words of Anthropic's API.
        if not given(fields, "max_tokens"):
            raise InvalidRequest(
                "max_tokens: Field required", param="max_tokens", code="missing_required_parameter"
            )
        if given(fields, "messages") and _EMPTY.fullmatch(bytes(fields["messages"])):
            raise InvalidRequest("messages: at least one message is required", param="messages")
        if "max_tokens" in ignored and "thinking" in fields:
            ignored += thinking.lower_budget(fields)
        return ignored

    def apply_contract(self, fields: Fields, route: Route) -> None:
        super().apply_contract(fields, route)
        schema = route.contract.schema
        if schema is not None:
            wanted = b'{"type":"json_schema","schema":%b}' % bytes(schema)
            with_member(fields, "output_config", "format", msgspec.Raw(wanted))


class CountTokens(_Anthropic):
    """`/v1/messages/count_tokens`: takes what makes the prompt; what only shapes an answer does no harm."""

    name = "count_tokens"
    described = described.COUNT_TOKENS
    passed = frozenset(
        {
            *("model", "messages", "system", "tools", "tool_choice", "thinking", "output_config"),
            "chat_template_kwargs",
        }
    )
    labels = frozenset({"cache_control", "speed"})
    refused = SHARED_REFUSED
    harmless = MappingProxyType(
        {
            **_HARMLESS,
            **dict.fromkeys(sorted((Messages.passed | Messages.labels) - passed - labels), _NO_ANSWER),
        }
    )
    rules = MappingProxyType(
        {
            "messages": no_strange_addresses(readable),
            "tools": TOOLS,
            "output_config": _output_config,
            "tool_choice": tool_choice.check,
            "thinking": thinking.kind,
            "thread": _thread,
            "chat_template_kwargs": template_variables,
            "speed": wish("standard", why=HARMLESS["speed"]),
        }
    )


def _counted(usage: _Usage) -> TokenUsage:
    """What was read from the cache is part of the prompt."""
    cached = (usage.cache_read_input_tokens or 0) + (usage.cache_creation_input_tokens or 0)
    return TokenUsage(usage.input_tokens + cached, usage.output_tokens)


def _usage_in(event: bytes) -> TokenUsage | None:
    try:
        found = _decode_event(event)
    except NOT_JSON:
        return None
    usage = found.usage or (found.message.usage if found.message else None)
    return _counted(usage) if usage else None


MESSAGES = Messages("/v1/messages")
COUNT_TOKENS = CountTokens("/v1/messages/count_tokens")
