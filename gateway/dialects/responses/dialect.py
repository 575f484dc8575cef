"""OpenAI's `/v1/responses`, without what has to be kept between two requests."""

from __future__ import annotations

from collections.abc import Sequence
from types import MappingProxyType

import msgspec

from gateway.config.document import JsonObject
from gateway.dialects.chat.allowed_tools import KIND, NAMESPACE, respelled
from gateway.dialects.chat.conversion import Conversion
from gateway.dialects.chat.dialect import TYPED_LABELS
from gateway.dialects.cost.lists import LIST_RULES
from gateway.dialects.dialect import Dialect, one_line
from gateway.dialects.harmless import members, only_members, stream_options, wish
from gateway.dialects.kinds import GATEWAYS_OWN, HARMLESS, LABELS
from gateway.dialects.media import no_strange_addresses
from gateway.dialects.parameters import (
    Limits,
    checked,
    count,
    object_of,
    only,
    structured_outputs,
    template_variables,
    tokens,
    unsupported,
    value_of,
)
from gateway.dialects.prompt_faults import Form
from gateway.dialects.request_body import Fields, encode_fields, given, raw_of, says_system, with_member
from gateway.dialects.responses import described
from gateway.dialects.responses.from_chat import ResponseRendering
from gateway.dialects.responses.history import KEPT_NOWHERE, readable
from gateway.dialects.responses.said import ResponseReader
from gateway.dialects.responses.to_chat import chat_of_response
from gateway.dialects.tools import functions_of, tool_choice_or_allowed, tools
from gateway.errors import NOT_JSON
from gateway.http.engine_connection import Segments
from gateway.http.event_stream import EventStream, NamedEvents, TokenUsage
from gateway.routing.table import Route

_encode = msgspec.json.Encoder().encode
_FALSE = msgspec.Raw(b"false")
INCLUDED = ("message.output_text.logprobs", "reasoning.encrypted_content")
"""What `include` may ask for. Reasoning comes in the open, so nothing of it is encrypted."""
FORM = Form(
    ("input_text", "output_text"),
    frozenset({"input_text", "output_text", "refusal", "reasoning_text", "summary_text"}),
    said="output_text",
    items=frozenset(
        {
            *("message", "reasoning", "function_call", "function_call_output", "custom_tool_call"),
            "custom_tool_call_output",
        }
    ),
)
CHOICES = ("function", "custom")
_CHOICE = tool_choice_or_allowed("parameters")


class _Usage(msgspec.Struct):
    input_tokens: int = 0
    output_tokens: int = 0


class _Response(msgspec.Struct):
    usage: _Usage | None = None


class _Event(msgspec.Struct):
    response: _Response | None = None


class _Events(NamedEvents):
    """The engine tells of a response before it begins with it: what counts is what it says of the answer."""

    __slots__ = ()

    def _looked_through(self, piece: bytes) -> tuple[bytes, int]:
        piece, _ = super()._looked_through(piece)
        return piece, piece.count(b".delta\n")  # within JSON a line's end is escaped


_decode = msgspec.json.Decoder(_Response).decode
_decode_error = msgspec.json.Decoder(dict[str, dict]).decode  # type: ignore[type-arg]  # its values are JSON
_decode_event = msgspec.json.Decoder(_Event).decode


def _text(key: str, fields: Fields, limits: Limits) -> Sequence[str]:
    """`text`: a format whose schema is bounded, and no wish for length."""
    value = object_of(key, checked(key, fields, limits)) or {}
    if value.get("verbosity") in (None, "medium"):
        return only_members(key, value, ("format", "verbosity"), fields, limits)
    if limits.strict:
        raise unsupported(f"{key}.verbosity", f"'{key}.verbosity' is not supported; leave it out.")
    return only_members(key, value, ("format",), fields, limits)


def _include(key: str, fields: Fields, limits: Limits) -> Sequence[str]:
    """What only a tool of the server's could give is not there to be included."""
    value = value_of(key, fields)
    others = [one for one in value if one not in INCLUDED] if isinstance(value, list) else []
    if not isinstance(value, list) or not others:
        return ()
    if limits.strict:
        raise unsupported(
            key,
            f"'{key}' may hold {', '.join(INCLUDED)}; {str(others[0])[:80]!r} needs a tool of the server's.",
        )
    kept = [one for one in value if one in INCLUDED]
    if kept:
        fields[key] = raw_of(kept)
    else:
        del fields[key]
    return (key,)


def _tool_choice(key: str, fields: Fields, limits: Limits) -> None:
    _CHOICE(key, fields, limits)
    value = value_of(key, fields) if key in fields else None
    if isinstance(value, dict) and value.get("type") not in (*CHOICES, KIND):
        raise unsupported(
            key,
            f"'{key}' may be auto, none, required, one function or allowed_tools; it is "
            f"{str(value.get('type'))[:80]!r}.",
        )


class Responses(Dialect):
    """One response for one request: the engine is told to keep none."""

    name = "responses"
    described = described.RESPONSES
    conversion = Conversion(chat_of_response, ResponseRendering, ResponseReader)
    prompt = "input"
    form = FORM
    passed = frozenset(
        {
            *("model", "input", "instructions", "stream", "include", "text", "reasoning", "truncation"),
            *("max_output_tokens", "temperature", "top_p", "top_k", "min_p", "seed", "stop", "logit_bias"),
            *("presence_penalty", "frequency_penalty", "repetition_penalty", "stop_token_ids", "ignore_eos"),
            *("top_logprobs", "tools", "tool_choice", "parallel_tool_calls", "include_reasoning"),
            *("skip_special_tokens", "include_stop_str_in_output", "structured_outputs", "cache_salt"),
            *("chat_template_kwargs", "session_id", "user", "metadata", "service_tier", "prompt_cache_key"),
            *("store", "background", "max_tool_calls", "enable_response_messages"),
        }
    )
    labels = LABELS | {"stream_options"}
    lengths = ("max_output_tokens",)
    refused = MappingProxyType(
        {
            **GATEWAYS_OWN,
            "previous_response_id": KEPT_NOWHERE,
            "conversation": KEPT_NOWHERE,
            "previous_input_messages": "send them in input.",
            "prompt": "no prompts are kept here; send instructions and input.",
            "moderation": "nothing is moderated here; leave it out.",
            "max_tokens": "its name is max_output_tokens.",
            "max_completion_tokens": "its name is max_output_tokens.",
            "messages": "its name is input.",
            "response_format": "its name is text.format.",
        }
    )
    rules = MappingProxyType(
        {
            "input": no_strange_addresses(readable),
            "max_output_tokens": tokens,
            **{key: LIST_RULES[key] for key in ("stop", "stop_token_ids", "logit_bias")},
            "top_logprobs": count("max_logprobs", 0),
            "text": _text,
            "structured_outputs": structured_outputs,
            "include": _include,
            "tools": tools((*CHOICES, NAMESPACE), "none", "parameters", allows=True),
            "tool_choice": _tool_choice,
            "chat_template_kwargs": template_variables,
            **TYPED_LABELS,
            "reasoning": members("effort", "summary", "generate_summary"),
            "store": wish(False, why="no response is kept here; send false, or leave it out."),
            "background": only(False, why=KEPT_NOWHERE),
            "service_tier": wish("auto", "default", why=HARMLESS["service_tier"]),
            "stream_options": stream_options(),
            # Of what is too long vLLM 0.32 drops the end, with the question, and leaves room for one token.
            "truncation": wish("disabled", why="no item is dropped here; send what the model is to see."),
        }
    )
    renamed = MappingProxyType(
        {
            "max_tokens": "max_output_tokens",
            "max_completion_tokens": "max_output_tokens",
            "reasoning_effort": "reasoning",
        }
    )
    rewritten = MappingProxyType(
        {
            "tools": lambda tools: raw_of([{"type": "function", **each} for each in functions_of(tools)]),
            "tool_choice": lambda choice: raw_of(respelled(msgspec.json.decode(choice), nested=False)),
        }
    )

    def apply_contract(self, fields: Fields, route: Route) -> None:
        contract = route.contract
        fields["model"] = route.model_json
        fields["store"] = _FALSE  # else an engine that can keep responses keeps them all, for good
        self.take_defaults(fields, contract.defaults, "reasoning")
        # Beside it a format would be a second grammar for one answer: the client's own stands.
        if contract.schema is not None and "structured_outputs" not in fields:
            with_member(fields, "text", "format", _format(route.name, contract.schema))
        if (
            contract.system is not None
            and not given(fields, "instructions")
            and not says_system(fields, "input")
        ):
            fields["instructions"] = contract.system

    def encode_body(self, fields: Fields, route: Route, received_bytes: int) -> Segments:
        return encode_fields(fields, received_bytes)

    def usage_of(self, answer: bytes) -> TokenUsage | None:
        try:
            return _counted(_decode(answer))
        except NOT_JSON:
            return None

    def events(self, usage_wanted: bool) -> EventStream:
        return _Events(_usage_in)

    def last_event(self, error_body: bytes) -> bytes:
        """The event `error` has its fields at the top; clients that look for an `error` find that too."""
        event: JsonObject = {"type": "error", "code": None, "message": "", "param": None}
        try:
            error: JsonObject = _decode_error(error_body).get("error", {})
        except NOT_JSON:
            return b"event: error\n" + super().last_event(error_body)
        event |= {key: error[key] for key in ("code", "message", "param") if key in error}
        return b"event: error\ndata: " + one_line(_encode({**event, "error": error})) + b"\n\n"


def _format(name: str, schema: msgspec.Raw) -> msgspec.Raw:
    named = _encode(name)
    return msgspec.Raw(b'{"type":"json_schema","name":%b,"schema":%b,"strict":true}' % (named, bytes(schema)))


def _counted(response: _Response) -> TokenUsage | None:
    usage = response.usage
    return TokenUsage(usage.input_tokens, usage.output_tokens) if usage else None


def _usage_in(event: bytes) -> TokenUsage | None:
    try:
        response = _decode_event(event).response
    except NOT_JSON:
        return None
    return _counted(response) if response else None


RESPONSES = Responses("/v1/responses")
