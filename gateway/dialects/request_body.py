"""A request's body, decoded one level deep, and what the task's contract adds to it.

Values stay as the bytes that came, without the white space around them; only what a bound or a route needs is
looked into.
"""

from __future__ import annotations

import mmap
import re
from collections.abc import Collection, Mapping
from operator import attrgetter

import msgspec

from gateway.config.document import JsonObject
from gateway.errors import NOT_JSON, InvalidRequest
from gateway.http.engine_connection import Segments
from gateway.routing.table import Contract, Route

Buffer = bytes | bytearray | mmap.mmap
Fields = dict[str, msgspec.Raw]
GREEDY_BELOW = 1e-5
"""A lower temperature is 0 to vLLM, which then gives no more than one answer."""
JOIN_BELOW_BYTES = 64 * 1024
"""A larger body is sent in pieces that refer to what was received, so that it is held once."""
SEARCHED_BELOW_BYTES = 64 * 1024
"""A larger body is not gone through for a word: its values are looked at, and what it may hold is decoded."""

_decode_fields = msgspec.json.Decoder(Fields).decode
_NULL = msgspec.Raw(b"null")
_encode = msgspec.json.Encoder().encode
# A whole pair and `\\` are matched as escapes of their own, so that nothing in them is taken for a half.
_ESCAPE = re.compile(
    rb"\\(?:u[dD][89abAB][\da-fA-F]{2}\\u[dD][c-fC-F][\da-fA-F]{2}|(?P<half>u[dD][89a-fA-F][\da-fA-F]{2})|.)",
    re.S,
)
FORMATS = ("response_format", "structured_outputs")
# vLLM goes by `max_completion_tokens` where both are there: a task's could override the client's bound.
_STAND_INS = {
    "max_tokens": ("max_tokens", "max_completion_tokens"),
    "max_completion_tokens": ("max_tokens", "max_completion_tokens"),
    **dict.fromkeys(FORMATS, FORMATS),  # both would be two grammars for one answer, which it refuses
}
_OF_THE_SYSTEM = frozenset(("system", "developer"))
_role_of = attrgetter("role")
BEAMS = "use_beam_search"
_TRUE, _FALSE = msgspec.Raw(b"true"), msgspec.Raw(b"false")
_OF_LOGPROBS = frozenset(("top_logprobs", "logprob_token_ids"))
_GIVING_WAY = _OF_LOGPROBS | {"n", "min_tokens"}
"""Defaults that a client's own may leave no room for."""
_MARK = b"\xef\xbb\xbf"
_WITH_USAGE = msgspec.Raw(b'{"include_usage":true}')


class _Message(msgspec.Struct):
    """Of a message only the role is looked at."""

    role: str


class _Item(msgspec.Struct):
    """Of an item that may be no message."""

    role: str | None = None


_decode_items = msgspec.json.Decoder(str | list[_Item] | None).decode
_decode_messages = msgspec.json.Decoder(list[_Message]).decode
_decode_number = msgspec.json.Decoder(float).decode
_decode_text = msgspec.json.Decoder(str).decode
_decode_options = msgspec.json.Decoder(Fields | None).decode


def without_mark(body: Buffer) -> Buffer:
    """A body without the mark of UTF-8 that some write before any text."""
    return body[len(_MARK) :] if body[: len(_MARK)] == _MARK else body


def raw_of(value: object) -> msgspec.Raw:
    """A parameter's value that is written here, as one that came."""
    return msgspec.Raw(_encode(value))


def fields_of(document: JsonObject) -> Fields:
    """A request that was made here, as one that came: each parameter's own JSON."""
    return _decode_fields(_encode(document))


def decode_body(body: Buffer) -> Fields:
    """A request's top-level fields, their values undecoded; what is null is absent. Raises InvalidRequest."""
    if body[:1] == _MARK[:1]:
        body = without_mark(body)
    try:
        fields = _decode_fields(body)
    # First, for it is a ValueError as well: JSON, but no object.
    except msgspec.ValidationError:
        raise InvalidRequest("The body must be a JSON object.") from None
    except RecursionError:
        raise InvalidRequest("The body is nested too deeply.") from None
    except NOT_JSON as error:
        raise InvalidRequest(f"The body is not valid JSON: {_half_character(body) or error}") from None
    # Nearly always, and in a short body cheaper than a look at each value. `find`, since `in` first takes
    # its left side for a number (design 145).
    if len(body) < SEARCHED_BELOW_BYTES and body.find(b"null", 0) < 0:
        return fields
    return {key: value for key, value in fields.items() if value != _NULL}


def _half_character(body: Buffer) -> str | None:
    """Where half of a surrogate pair stands alone, which no UTF-8 can hold; None where none does."""
    for escape in _ESCAPE.finditer(body):
        if escape["half"]:
            shown = f"{escape[0].decode('ascii')} at byte {escape.start()}"
            return f"{shown} is half of a character (a lone surrogate), as a cut text has"
    return None


def with_model(body: Buffer, model: str) -> bytes:
    """The body with this model, whatever its own says. Raises InvalidRequest."""
    fields = decode_body(body)
    fields["model"] = raw_of(model)
    return _encode(fields)


def text_field(fields: Fields, key: str) -> str:
    """A required field that must be a string. Raises InvalidRequest."""
    if key not in fields:
        raise InvalidRequest(f"'{key}' is required.", param=key, code="missing_required_parameter")
    try:
        return _decode_text(fields[key])
    except NOT_JSON:
        raise InvalidRequest(f"'{key}' must be a string.", param=key) from None


def flag_field(fields: Fields, key: str) -> bool:
    """An optional boolean; null counts as false. Raises InvalidRequest."""
    if key not in fields:
        return False
    raw = bytes(fields[key])
    if raw not in (b"true", b"false", b"null"):
        raise InvalidRequest(f"'{key}' must be true or false.", param=key)
    return raw == b"true"


def given(fields: Fields, key: str) -> bool:
    """Whether it is there and more than null."""
    return key in fields and bytes(fields[key]) != b"null"


def ask_for_usage(fields: Fields) -> bool:
    """Have a stream end with its usage; True where the client asked for it itself. Raises InvalidRequest."""
    given = fields.get("stream_options")
    if given is None:
        fields["stream_options"] = _WITH_USAGE
        return False
    try:
        options = _decode_options(given) or {}
        wanted = flag_field(options, "include_usage")
    except NOT_JSON:
        raise InvalidRequest("'stream_options' must be an object.", param="stream_options") from None
    if not wanted:  # it counts only beside include_usage, which the client did not ask for
        options.pop("continuous_usage_stats", None)
    options["include_usage"] = _TRUE
    fields["stream_options"] = raw_of(options)
    return wanted


def apply_contract(fields: Fields, route: Route, defaults: Mapping[str, msgspec.Raw] | None = None) -> None:
    """Write the engine's model name and, where the client gave none, the task's own settings.

    `defaults`: those of them that the API has, where it has not all. Raises InvalidRequest for beam search,
    which the engine would not hold to the task's schema.
    """
    contract = route.contract
    fields["model"] = route.model_json
    if defaults is None:
        defaults = contract.defaults
    if "n" in fields and _several(fields["n"]) and _greedy(defaults.get("temperature")):
        # All of n answers would be the same, and the engine refuses to give them: the client's n counts.
        defaults = {key: value for key, value in defaults.items() if key != "temperature"}
    if not _GIVING_WAY.isdisjoint(defaults):
        defaults = _beside(fields, defaults)
    for key, value in without_idle_choice(defaults, fields).items():
        stand_ins = _STAND_INS.get(key)
        if key not in fields if stand_ins is None else fields.keys().isdisjoint(stand_ins):
            fields[key] = value
    if contract.response_format is not None and fields.keys().isdisjoint(FORMATS):
        if BEAMS in fields and bytes(fields[BEAMS]) != b"false":
            raise InvalidRequest(
                f"'{BEAMS}' is not supported by '{route.name}', since the engine holds beams to no schema.",
                param=BEAMS,
                code="unsupported_parameter",
            )
        fields["response_format"] = contract.response_format


def without_idle_choice(
    defaults: Mapping[str, msgspec.Raw], fields: Collection[str]
) -> Mapping[str, msgspec.Raw]:
    """A task's defaults but for a choice among tools that are not there: the engine would refuse the request.

    A function that it names is one of the task's tools, not of those that the client has given.
    """
    choice = defaults.get("tool_choice")
    if choice is None or "tool_choice" in fields:
        return defaults
    names_one = bytes(choice).startswith(b"{")
    chooses = not names_one if "tools" in fields else "tools" in defaults
    return defaults if chooses else {key: value for key, value in defaults.items() if key != "tool_choice"}


def _several(n: msgspec.Raw) -> bool:
    return bytes(n) not in (b"0", b"1")


def _greedy(temperature: msgspec.Raw | None) -> bool:
    """Whether a temperature is as good as 0 to the engine."""
    value = _number(temperature)
    return value is not None and value < GREEDY_BELOW


def _number(raw: msgspec.Raw | None) -> float | None:
    """None also for what is no number, which the engine refuses."""
    try:
        return None if raw is None else _decode_number(raw)
    except NOT_JSON:
        return None


def _beside(fields: Fields, defaults: Mapping[str, msgspec.Raw]) -> Mapping[str, msgspec.Raw]:
    """A task's defaults but for those that the engine refuses beside what the client has given."""
    left: set[str] = set()
    if "n" in defaults and _several(defaults["n"]) and _greedy(fields.get("temperature")):
        left.add("n")
    least = _number(defaults.get("min_tokens"))
    most = _number(fields.get("max_completion_tokens", fields.get("max_tokens")))
    if least is not None and most is not None and least > most:
        left.add("min_tokens")
    if fields.get("logprobs") == _FALSE:
        left |= _OF_LOGPROBS
    return {key: value for key, value in defaults.items() if key not in left}


def encode_body(fields: Fields, route: Route, received_bytes: int) -> Segments:
    """The body for the engine, the task's system prompt before the messages where they have none.

    `received_bytes`, the size of what came, decides whether it is joined. Raises InvalidRequest.
    """
    prefix = b""
    if route.contract.system_message is not None and "messages" in fields:
        prefix = _system_prefix(fields["messages"], route.contract)
    if received_bytes < JOIN_BELOW_BYTES:
        if prefix:
            fields["messages"] = msgspec.Raw(prefix + bytes(fields["messages"])[1:])
        return (_encode(fields),)
    return _in_pieces(fields, prefix)


def encode_fields(fields: Fields, received_bytes: int) -> Segments:
    """As `encode_body`, of fields that have all they need."""
    return (_encode(fields),) if received_bytes < JOIN_BELOW_BYTES else _in_pieces(fields, b"")


def with_member(fields: Fields, key: str, member: str, value: msgspec.Raw) -> None:
    """Write `value` into an object of the request's, where the client's has no such member.

    Raises InvalidRequest where what the client gave is no object.
    """
    held: Fields = {}
    if key in fields:
        try:
            held = _decode_options(fields[key]) or {}
        except NOT_JSON:
            raise InvalidRequest(f"'{key}' must be an object.", param=key) from None
    if not given(held, member):
        held[member] = value
        fields[key] = raw_of(held)


def says_system(fields: Fields, key: str) -> bool:
    """Whether a list of messages, or of other items, has one of the system's or the developer's."""
    try:
        items = _decode_items(fields[key]) if key in fields else None
    except NOT_JSON as error:
        raise InvalidRequest(f"'{key}' must be text or list messages: {error}", param=key) from None
    return isinstance(items, list) and not _OF_THE_SYSTEM.isdisjoint(map(_role_of, items))


def _in_pieces(fields: Fields, prefix: bytes) -> Segments:
    segments: list[bytes | memoryview] = []
    opening = b"{"
    for key, raw in fields.items():
        # A view of what was received: a copy would hold the body twice.
        value = memoryview(raw)
        segments.append(opening + _encode(key) + b":")
        if prefix and key == "messages":
            segments.append(prefix)
            value = value[1:]
        segments.append(value)
        opening = b","
    segments.append(b"}")
    return segments


def _system_prefix(messages: msgspec.Raw, contract: Contract) -> bytes:
    """What goes before the client's first message: `[`, the task's system message and a comma, or nothing."""
    try:
        roles = _decode_messages(messages)
    except NOT_JSON as error:
        raise InvalidRequest(
            f"'messages' must list messages with a role: {error}", param="messages"
        ) from None
    if not roles or not _OF_THE_SYSTEM.isdisjoint(map(_role_of, roles)):
        return b""
    return b"[%b," % (contract.system_message or b"")
