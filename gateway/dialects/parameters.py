"""What a request's parameters may ask for: bounds, values that are taken, and the error that says so. Pure.

vLLM ignores what it does not know without a word, so that is found here; `kinds` says what becomes of it.
"""

from __future__ import annotations

import gc
import math
import re
from collections.abc import Callable, Iterable, Sequence

import msgspec
from pydantic import JsonValue

from gateway.config.document import Config, JsonObject
from gateway.config.snapshot import Snapshot, ToolChoices
from gateway.dialects.request_body import Fields, flag_field
from gateway.errors import NOT_JSON, InvalidRequest, did_you_mean

MAX_DEPTH = 32
"""Nested objects and lists in a schema; OpenAI allows 10."""
MAX_MEMBERS = 512
"""Of one object in a schema: xgrammar took 0.6 s for 500 optional properties and 24 s for 2,000."""
MAX_REGEX_CHARS = 4096
MAX_VALUE_BYTES = 64 * 1024
"""Of a parameter that is looked into: a megabyte of `[],` held everybody up for 1.5 s."""

MOST_TOKENS = 2**31 - 1
"""Of an answer, where no engine has told its context: whole numbers of any length would go into sums."""

MOST_UNKNOWN = 32
"""Names that nobody knows, in one object: each is compared with all that are known."""

Rule = Callable[[str, Fields, "Limits"], Sequence[str] | None]
"""Looks at one parameter that is there, and takes out of it what is harmless: that is what it returns.

Raises InvalidRequest.
"""


_decode_number = msgspec.json.Decoder(int | float | None).decode


class Limits:
    """The bounds that a request's parameters are held against, as the configuration has them."""

    __slots__ = (
        "_configured",
        "_snapshot",
        "context_tokens",
        "max_allowed_token_ids",
        "max_logit_bias",
        "max_logprobs",
        "max_n",
        "max_schema_bytes",
        "max_sequences",
        "max_stop_strings",
        "max_tools_bytes",
        "media_hosts",
        "strict",
        "template_variables",
    )

    def __init__(
        self,
        config: Config,
        context_tokens: Callable[[], int | None],
        snapshot: Callable[[], Snapshot] = Snapshot,
    ) -> None:
        """`context_tokens` says how long the base's context is, where an engine has told."""
        bounds = config.gateway
        self.strict = bounds.parameters == "strict"
        """What is harmless is refused too."""
        self.context_tokens = context_tokens
        self.max_n = bounds.max_n
        self.max_sequences = bounds.max_sequences
        self.max_stop_strings = bounds.max_stop_strings
        self.max_logit_bias = bounds.max_logit_bias
        self.max_allowed_token_ids = bounds.max_allowed_token_ids
        self.max_logprobs = bounds.max_logprobs
        self.max_schema_bytes = bounds.max_schema_bytes
        self.max_tools_bytes = bounds.max_tools_bytes
        self.media_hosts = tuple(bounds.media_hosts)
        self.template_variables = frozenset(bounds.template_variables)
        self._snapshot = snapshot
        self._configured = _configured(config)

    @property
    def tools(self) -> ToolChoices:
        """Which calls of tools the engines can be asked for, as far as that is known."""
        return self._snapshot().tools or self._configured[0]

    @property
    def reasoning(self) -> bool:
        """Whether thinking is told from the answer; where that is not known, the engine says it itself."""
        told = self._snapshot().reasoning
        return self._configured[1] if told is None else told


def _configured(config: Config) -> tuple[ToolChoices, bool]:
    """Before an engine of ours has told; somebody else's servers say themselves what they cannot do."""
    base, arguments = config.base, " ".join(config.engine.extra_args)
    if config.attached:
        return "", True
    tools: ToolChoices = "" if base.tool_call_parser == "auto" else "all" if base.tool_call_parser else "none"
    if "--tool-call-parser" in arguments:
        tools = "all"
    return tools, bool(base.reasoning_parser) or "--reasoning-" in arguments


def unsupported(param: str, message: str) -> InvalidRequest:
    """The 400 for a parameter, or a value of it, that is not taken here."""
    return InvalidRequest(message, param=param, code="unsupported_parameter")


def unknown(key: str, known: Iterable[str]) -> InvalidRequest:
    """The 400 for a name that nobody knows; a long one is cut."""
    shown = key if len(key) <= 80 else key[:77] + "..."
    return unsupported(shown, f"There is no parameter '{shown}' here{did_you_mean(key, known)}")


def asks_nothing(raw: msgspec.Raw) -> bool:
    """Whether a value is empty: a list, an object or a text without anything in it."""
    value = bytes(memoryview(raw)[:16])
    if value == b'""':  # spaces in a text are its own: `"stop": " "` ends an answer at its first word
        return True
    return len(memoryview(raw)) <= 16 and b"".join(value.split()) in (b"[]", b"{}")


def value_of(key: str, fields: Fields, most_bytes: int | None = MAX_VALUE_BYTES) -> JsonValue:
    """A parameter's value. Raises InvalidRequest where it is too large, or its JSON cannot be read.

    Without a bound, for conversations, the collector is held back: it would go over all again and again.
    """
    size = len(memoryview(fields[key]))
    if most_bytes is not None and size > most_bytes:
        raise InvalidRequest(f"'{key}' has {size} bytes; it may have {most_bytes}.", param=key)
    # A megabyte of `[],` takes 0.1 s, and 0.9 with the collector's passes over what is made (design 65).
    collects = size > MAX_VALUE_BYTES and gc.isenabled()
    if collects:
        gc.disable()
    try:
        value: JsonValue = msgspec.json.decode(fields[key])
    except RecursionError:
        raise InvalidRequest(f"'{key}' is nested too deeply.", param=key) from None
    except NOT_JSON:
        raise InvalidRequest(f"'{key}' is not valid JSON.", param=key) from None
    finally:
        if collects:
            gc.enable()
    return value


def marked_list(key: str, fields: Fields, marks: re.Pattern[bytes]) -> list[JsonValue] | None:
    """A conversation with one of the marks in it; None where there is nothing to be looked at."""
    value = value_of(key, fields, None) if marks.search(fields[key]) else None
    return value if isinstance(value, list) else None


def object_of(key: str, value: JsonValue) -> JsonObject | None:
    """A value that must be an object, or null. Raises InvalidRequest."""
    if value is None or isinstance(value, dict):
        return value
    raise InvalidRequest(f"'{key}' must be an object.", param=key)


def count(bound: str, least: int = 1) -> Rule:
    """A whole number, null, or for flags of that name true and false; `bound` names the limit's field."""

    def check(key: str, fields: Fields, limits: Limits) -> None:
        raw = fields[key]
        if bytes(raw) in (b"true", b"false"):
            if least == 0:  # `logprobs` is a flag in a chat and a number elsewhere
                return
            raise InvalidRequest(f"'{key}' must be a whole number.", param=key)
        value = written_plainly(key, fields)
        most: int = getattr(limits, bound)
        if value is not None and not least <= value <= most:
            raise InvalidRequest(f"'{key}' is {value}; it may be from {least} to {most}.", param=key)

    return check


def flag(key: str, fields: Fields, limits: Limits) -> None:
    """A rule: the field must be true, false or null. Raises InvalidRequest."""
    flag_field(fields, key)


def text(key: str, fields: Fields, limits: Limits) -> None:
    """A rule: the field must be a string or null. Raises InvalidRequest."""
    if not bytes(fields[key]).startswith((b'"', b"null")):
        raise InvalidRequest(f"'{key}' must be a string.", param=key)


def labelled(key: str, fields: Fields, limits: Limits) -> None:
    """An object of whatever members, or null; it is passed on or left out, and nobody looks into it."""
    if bytes(memoryview(fields[key])[:1]) not in (b"{", b"n"):
        raise InvalidRequest(f"'{key}' must be an object.", param=key)


def tokens(key: str, fields: Fields, limits: Limits) -> Sequence[str]:
    """A bound on an answer's length: from 1 to the model's context; a larger one is lowered to it.

    vLLM itself lowers what is within the context to what the prompt leaves of it, and refuses what is not.
    """
    value = written_plainly(key, fields)
    if value is None:
        return ()
    told = limits.context_tokens()
    most = MOST_TOKENS if told is None else told
    if value > most and not limits.strict:
        fields[key] = msgspec.Raw(b"%d" % most)
        return (key,)
    if not 1 <= value <= most:
        span = f"from 1 to {most}" + ("" if told is None else ", the model's context")
        raise InvalidRequest(f"'{key}' is {value}; it may be {span}.", param=key)
    return ()


def whole_number(key: str, raw: msgspec.Raw) -> int | None:
    """`16.0` is one to JSON and to the engine. Raises InvalidRequest."""
    try:
        value = _decode_number(raw)
    except NOT_JSON:
        value = math.nan
    if isinstance(value, float) and not value.is_integer():
        raise InvalidRequest(f"'{key}' must be a whole number.", param=key)
    return None if value is None else int(value)


def written_plainly(key: str, fields: Fields) -> int | None:
    """A whole number, which is written as `16` for whoever reads it next. Raises InvalidRequest."""
    raw = bytes(fields[key])
    # Longer ones are decoded, since `int` raises for more than 4,300 digits.
    if raw.isdigit() and len(raw) < 10:  # as nearly always
        return int(raw)
    value = whole_number(key, fields[key])
    # `length_of` and `answer_tokens` go by digits.
    if value is not None and not raw.isdigit():
        fields[key] = msgspec.Raw(b"%d" % value)
    return value


def only(*allowed: JsonValue, why: str) -> Rule:
    """Values that ask for nothing; null does not either."""
    kept = [None, *allowed]

    def check(key: str, fields: Fields, limits: Limits) -> None:
        value = value_of(key, fields)
        # In Python `True == 1`.
        if not any(value == one and type(value) is type(one) for one in kept):
            raise unsupported(key, f"'{key}' is not supported: {why}")

    return check


def checked(key: str, fields: Fields, limits: Limits, bound: str = "max_schema_bytes") -> JsonValue:
    """The value of a parameter that holds schemas, within its bounds; `bound` names the limit's field."""
    check_bytes(key, len(memoryview(fields[key])), limits, bound)
    value = value_of(key, fields, None)
    # A level at a time instead of recursion: how deep it goes is the client's choice.
    level: list[JsonValue] = [value]
    for _ in range(MAX_DEPTH + 1):
        below: list[JsonValue] = []
        for one in level:
            if isinstance(one, dict):
                if len(one) > MAX_MEMBERS:
                    raise InvalidRequest(
                        f"'{key}' has an object of {len(one)} members; it may have {MAX_MEMBERS}.", param=key
                    )
                below += one.values()
            elif isinstance(one, list):
                below += one
        if not below:
            return value
        level = below
    raise InvalidRequest(f"'{key}' is nested deeper than {MAX_DEPTH} levels.", param=key)


def check_bytes(key: str, size: int, limits: Limits, bound: str) -> None:
    """Raises InvalidRequest where `size` is over the limit of that name."""
    most: int = getattr(limits, bound)
    if size > most:
        raise InvalidRequest(f"'{key}' has {size} bytes; it may have {most} (gateway.{bound}).", param=key)


STRUCTURED = frozenset(
    {
        "json",
        "regex",
        "choice",
        "grammar",
        "json_object",
        "disable_any_whitespace",
        "disable_additional_properties",
        "whitespace_pattern",
        "structural_tag",
    }
)


def structured_outputs(key: str, fields: Fields, limits: Limits) -> None:
    """vLLM's own form; which library does it is not a client's to choose."""
    value = object_of(key, checked(key, fields, limits))
    if value is None:
        return
    if not value:
        del fields[key]  # it asks for nothing
        return
    for name in value:
        if name not in STRUCTURED:
            raise unknown(f"{key}.{name}", [f"{key}.{each}" for each in STRUCTURED])
    for name in ("regex", "whitespace_pattern"):
        pattern = value.get(name)
        if isinstance(pattern, str) and len(pattern) > MAX_REGEX_CHARS:
            raise InvalidRequest(
                f"'{key}.{name}' has {len(pattern)} characters; it may have {MAX_REGEX_CHARS}.",
                param=f"{key}.{name}",
            )


def template_variables(key: str, fields: Fields, limits: Limits) -> None:
    """Values that the chat template sees: listed names and plain values, never another template."""
    value = object_of(key, value_of(key, fields))
    if value is None:
        return
    for name, one in value.items():
        if name not in limits.template_variables:
            allowed = ", ".join(sorted(limits.template_variables)) or "none"
            raise unsupported(
                f"{key}.{name}",
                f"'{key}' may set {allowed} (gateway.template_variables); it sets '{name[:80]}'.",
            )
        if isinstance(one, (dict, list)):
            raise InvalidRequest(f"'{key}.{name}' must be a plain value.", param=f"{key}.{name}")
