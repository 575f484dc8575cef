"""What an engine would make grammars of, in a request: schemas, patterns, grammars and structural tags. Pure.

Most need no trial: without references, patterns and counted repetitions a schema's cost grows with its bytes,
which are bounded. Measured on xgrammar 0.2.8 over random ones of 64 KiB: none took 0.3 s to compile, and none
more for a token than a plain one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Literal, NamedTuple

import msgspec
from pydantic import JsonValue

from gateway.config.document import JsonObject
from gateway.dialects.request_body import Fields
from gateway.errors import NOT_JSON

Kind = Literal["json", "regex", "grammar", "structural_tag"]

ALWAYS = frozenset(("response_format", "structured_outputs", "text", "output_config"))
"""Parameters that the engine makes a grammar of."""
HOLDERS = ALWAYS | {"tools"}
"""And the one that it makes one of where a call is to follow its schema."""
_TOLD_BY = (
    *(b"pattern", b"propertyNames", b'"regex"', b'"grammar"', b"structural_tag", b'"structures"'),
    *(b"$ref", b"$dynamicRef", b"$recursiveRef"),
)
_TOLD_BY_NUMBER = tuple(
    re.compile(pattern)
    for pattern in (rb'Properties"\s*:\s*\d', rb'Items"\s*:\s*\d{6}', rb'Length"\s*:\s*\d{6}', rb"\\u00[0-7]")
)
"""In the bytes of a parameter; an escape may spell a letter of one of these.

Each by itself: one expression of all took 5.8 ms for 130 KB of tools, where these take 1.5.
"""


class Grammar(NamedTuple):
    """One of them, with the parameter that it came in."""

    param: str
    kind: Kind
    text: str


_encode = msgspec.json.Encoder().encode


def _needs_trial(raw: bytes) -> bool:
    return any(mark in raw for mark in _TOLD_BY) or any(mark.search(raw) for mark in _TOLD_BY_NUMBER)


def grammars_of(fields: Fields) -> list[Grammar]:
    """Those of a request that a trial has to show the cost of; its parameters are checked already."""
    found: list[Grammar] = []
    # A set's order is another in each process, and a client is told of the first that is refused.
    for key in sorted(HOLDERS):
        if key not in fields:
            continue
        raw = bytes(fields[key])
        # A schema may come as a text here, in which a backslash stands before each quote of a mark.
        if _needs_trial(raw) or (key == "structured_outputs" and b'\\"' in raw):
            try:
                value: JsonValue = msgspec.json.decode(fields[key])
            except NOT_JSON:  # the engine says what is wrong with it
                continue
            found += _in_tools(key, value) if key == "tools" else _in_holder(key, value)
    return found


def _in_holder(key: str, value: JsonValue) -> Iterator[Grammar]:
    """Whichever API's form it has: of each the schemas, wherever they stand, and vLLM's own members."""
    if not isinstance(value, dict):
        return
    if value.get("type") == "structural_tag" or "structures" in value:
        yield Grammar(key, "structural_tag", _text(value))
        return
    own = key == "structured_outputs"
    for name, kind in _MEMBERS if own else ():
        held = value.get(name)
        if held is not None:
            yield Grammar(f"{key}.{name}", kind, held if isinstance(held, str) else _text(held))
    for schema in _schemas(value, own=own):
        yield Grammar(key, "json", _text(schema))


_MEMBERS: tuple[tuple[str, Kind], ...] = (
    ("json", "json"),
    ("regex", "regex"),
    ("whitespace_pattern", "regex"),
    ("grammar", "grammar"),
    ("structural_tag", "structural_tag"),
)


def _schemas(value: JsonObject, *, own: bool) -> Iterator[JsonObject]:
    """`json_schema.schema`, `format.schema`, `schema`: as the APIs have it."""
    for name in () if own else ("schema", "json_schema", "format"):
        held = value.get(name)
        if isinstance(held, dict):
            if name == "schema":
                yield held
            else:
                yield from _schemas(held, own=False)


def _in_tools(key: str, tools: JsonValue) -> Iterator[Grammar]:
    for tool in tools if isinstance(tools, list) else []:
        if not isinstance(tool, dict):
            continue
        yield from _in_tools(key, tool.get("tools"))
        function = tool.get("function")
        for holder in (tool, function if isinstance(function, dict) else {}):
            for name in ("parameters", "input_schema"):
                held = holder.get(name)
                # Something among all the tools needs a trial; this one's schema may not.
                if isinstance(held, dict) and _needs_trial(_encode(held)):
                    yield Grammar(key, "json", _text(held))


def _text(value: JsonValue) -> str:
    return _encode(value).decode()
