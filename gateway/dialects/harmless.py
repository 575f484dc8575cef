"""Rules for what cannot change what an answer means: it is taken out and named, or strictly refused. Pure."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from pydantic import JsonValue

from gateway.config.document import JsonObject
from gateway.dialects.kinds import ELSEWHERE
from gateway.dialects.parameters import (
    MOST_UNKNOWN,
    Limits,
    Rule,
    object_of,
    unknown,
    unsupported,
    value_of,
)
from gateway.dialects.request_body import Fields, flag_field, raw_of
from gateway.dialects.spelling import misspelt
from gateway.errors import InvalidRequest

TEMPLATE = "chat_template_kwargs"


def ignore(key: str, fields: Fields, limits: Limits, why: str) -> Sequence[str]:
    """Take a harmless parameter out. Raises InvalidRequest where the gateway is strict."""
    if limits.strict:
        raise unsupported(key, f"'{key}' is not supported: {why}")
    del fields[key]
    return (key,)


def members(*names: str) -> Rule:
    """An object of which these members count: others, which the engine would ignore, are harmless."""

    def check(key: str, fields: Fields, limits: Limits) -> Sequence[str]:
        held = object_of(key, value_of(key, fields)) or {}
        return only_members(key, held, names, fields, limits)

    return check


def only_members(
    key: str, held: JsonObject, names: Collection[str], fields: Fields, limits: Limits
) -> Sequence[str]:
    """Write an object anew without the members that are not among `names`; those are returned.

    Raises InvalidRequest where one is misspelt, or the gateway is strict.
    """
    others = [name for name in held if name not in names]
    if not others:
        return ()
    known = [f"{key}.{each}" for each in names]
    if len(others) > MOST_UNKNOWN:
        raise unsupported(key, f"'{key}' has {len(others)} members that have no meaning here.")
    for name in others:
        if limits.strict or misspelt(name, names):
            raise unknown(f"{key}.{name}", known)
    rewrite(key, {name: value for name, value in held.items() if name in names}, fields)
    return [f"{key}.{name}" for name in others]


def rewrite(key: str, held: JsonObject, fields: Fields) -> None:
    """Put what is left of an object in its place; where nothing is, nothing."""
    if held:
        fields[key] = raw_of(held)
    else:
        del fields[key]


def stream_options(*names: str) -> Rule:
    """What a stream has beside its text; padding is not among it. Without a stream it has no meaning."""

    def check(key: str, fields: Fields, limits: Limits) -> Sequence[str]:
        options = object_of(key, value_of(key, fields)) or {}
        # vLLM refuses it without a stream.
        if not flag_field(fields, "stream"):
            if any(options.values()):
                return ignore(key, fields, limits, "it goes with a stream; leave it out.")
            del fields[key]
            return ()
        # Padding that is asked for stays among the members, and is named below as one without effect.
        padding = options.get("include_obfuscation")
        if padding is not None and not isinstance(padding, bool):
            raise InvalidRequest(
                f"'{key}.include_obfuscation' must be true or false.", param=f"{key}.include_obfuscation"
            )
        if padding and limits.strict:
            raise unsupported(
                f"{key}.include_obfuscation",
                f"'{key}.include_obfuscation' is not supported: events are not padded; leave it out.",
            )
        if not padding:
            options.pop("include_obfuscation", None)
        return only_members(key, options, names, fields, limits)

    return check


def wish(*plain: JsonValue, why: str) -> Rule:
    """Whatever is asked for is harmless, and `plain` asks for nothing at all."""
    kept = [None, *plain]

    def check(key: str, fields: Fields, limits: Limits) -> Sequence[str]:
        value = value_of(key, fields)
        # In Python `True == 1`.
        if any(value == one and type(value) is type(one) for one in kept):
            return ()
        return ignore(key, fields, limits, why)

    return check


def refused_but_for(*plain: JsonValue, why: str) -> Rule:
    """A refused parameter of which these values ask for nothing, and an empty one may ask for much."""

    def check(key: str, fields: Fields, limits: Limits) -> Sequence[str]:
        if value_of(key, fields) in plain:
            return ignore(key, fields, limits, why)
        raise unsupported(key, f"'{key}' is not supported: {why}")

    return check


def template_switch(key: str, fields: Fields, limits: Limits) -> Sequence[str]:
    """A variable of the chat template that Qwen's servers take at the top of the body (`enable_thinking`).

    It goes where it belongs; what stands there already counts. Raises InvalidRequest.
    """
    value = value_of(key, fields)
    if limits.strict or key not in limits.template_variables:
        raise unsupported(key, f"'{key}' is not supported: {ELSEWHERE[key]}")
    if not isinstance(value, bool):
        raise InvalidRequest(f"'{key}' must be true or false.", param=key)
    held = object_of(TEMPLATE, value_of(TEMPLATE, fields)) if TEMPLATE in fields else None
    fields[TEMPLATE] = raw_of({key: value, **(held or {})})
    del fields[key]
    return ()


def needs_reasoning(key: str, fields: Fields, limits: Limits) -> Sequence[str]:
    """A budget for thinking means something only where the engine knows where thinking ends."""
    if limits.reasoning or value_of(key, fields) is None:
        return ()
    why = "it needs an engine that reads reasoning: set base.reasoning_parser, or leave it out."
    return ignore(key, fields, limits, why)
