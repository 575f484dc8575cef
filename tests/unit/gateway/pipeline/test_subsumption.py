"""Whether one schema's values are all another's: what is claimed holds, what clients send is recognised."""

from __future__ import annotations

import random
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from gateway.pipeline.subsumption import misfit

NAMED = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}
CLOSED = {**NAMED, "additionalProperties": False}


@pytest.mark.parametrize(
    ("inner", "outer"),
    [
        (CLOSED, CLOSED),
        (CLOSED, NAMED),
        (CLOSED, {}),
        (CLOSED, {"type": "object", "title": "T", "description": "d"}),
        (CLOSED, {"type": "object", "properties": {"a": {}, "b": {"type": "null"}}}),
        (CLOSED, {"$ref": "#/$defs/A", "$defs": {"A": CLOSED}}),
        (CLOSED, {"anyOf": [{"type": "null"}, NAMED]}),
        (CLOSED, {"allOf": [NAMED, {"type": "object"}]}),
        ({"type": "integer"}, {"type": "number"}),
        ({"type": ["string", "null"]}, {"anyOf": [{"type": "string"}, {"type": "null"}]}),
        ({"anyOf": [{"type": "string"}, {"type": "null"}]}, {"type": ["null", "string"]}),
        ({"enum": ["a", "bc"]}, {"type": "string", "maxLength": 2}),
        ({"const": 3}, {"enum": [1, 2, 3]}),
        ({"type": "boolean"}, {"enum": [True, False]}),
        ({"type": "array", "maxItems": 3, "items": CLOSED}, {"type": "array", "maxItems": 4, "items": NAMED}),
        ({"type": "string", "pattern": "^a"}, {"type": "string", "pattern": "^a"}),
        ({"oneOf": [CLOSED]}, {"oneOf": [CLOSED]}),
        ({"type": "string"}, {"minItems": 5}),
    ],
)
def test_equal_or_wider(inner: Any, outer: Any) -> None:
    assert misfit(inner, outer) is None


@pytest.mark.parametrize(
    ("inner", "outer", "where"),
    [
        (NAMED, CLOSED, "additionalProperties"),
        (CLOSED, {**CLOSED, "required": ["a", "b"]}, "required"),
        (CLOSED, {**CLOSED, "properties": {"a": {"type": "integer"}}}, "properties.a.type"),
        (
            CLOSED,
            {"type": "object", "properties": {}, "additionalProperties": False},
            "additionalProperties.a",
        ),
        ({"type": "number"}, {"type": "integer"}, "type"),
        ({}, {"type": "object"}, "type"),
        ({"type": "string"}, {"enum": ["a"]}, "enum"),
        ({"type": "string"}, {"type": "string", "pattern": "(a+)+$"}, "pattern"),
        ({"enum": ["aaaa"]}, {"type": "string", "pattern": "(a+)+$"}, "pattern"),
        ({"type": "string"}, {"maxLength": 3}, "maxLength"),
        ({"type": "string"}, {"unheard-of": 1}, "unheard-of"),
        ({"type": "string"}, {"$ref": "#/nowhere"}, "$ref"),
        ({"type": "string"}, {"$ref": "#"}, "$ref"),
        ({"type": "string"}, {"allOf": [{"$ref": "#"}]}, "its top"),
        ({"type": "string"}, {"not": {"type": "null"}}, "not"),
        ({"type": "boolean"}, {"enum": [1, 0]}, "enum"),
        (
            {"type": "object", "patternProperties": {"^x": {"type": "null"}}, "additionalProperties": False},
            {"type": "object", "properties": {"xa": {"type": "string"}}},
            "properties.xa.type",
        ),
        ({"contains": {"const": 1}, "minContains": 0}, {"contains": {"const": 1}}, "contains"),
    ],
)
def test_what_may_be_violated_is_denied_with_the_place(inner: Any, outer: Any, where: str) -> None:
    assert misfit(inner, outer) == where


def test_work_is_bounded() -> None:
    knot: Any = {"anyOf": [{"$ref": "#"} for _ in range(8)]}
    assert misfit({"type": "string"}, knot) is not None
    wide: Any = {"allOf": [{"anyOf": [{"type": "null"}] * 30}] * 30}
    many: Any = {"type": "array", "items": {"anyOf": [{"type": "string"}] * 30}}
    assert misfit(many, wide) is not None


def schema(rng: random.Random, depth: int = 2) -> Any:
    """A small one of the keywords that are understood, now and then of several."""
    made: Any = {}
    for keyword in rng.sample(sorted(MAKERS), rng.choice((1, 2, 2, 3))):
        made[keyword] = MAKERS[keyword](rng, depth)
    return made


def below(rng: random.Random, depth: int) -> Any:
    return schema(rng, depth - 1) if depth else rng.choice(({}, True, {"type": "string"}))


MAKERS: dict[str, Any] = {
    "type": lambda r, d: r.choice(
        ("object", "array", "string", "integer", "number", "null", ["string", "null"])
    ),
    "properties": lambda r, d: {name: below(r, d) for name in r.sample("ab", r.choice((1, 2)))},
    "required": lambda r, d: r.sample("ab", r.choice((0, 1))),
    "additionalProperties": lambda r, d: r.choice((False, True, {"type": "string"})),
    "items": lambda r, d: below(r, d),
    "maxItems": lambda r, d: r.choice((0, 1)),
    "minItems": lambda r, d: r.choice((0, 1)),
    "minLength": lambda r, d: r.choice((0, 2)),
    "maximum": lambda r, d: r.choice((0, 2)),
    "enum": lambda r, d: r.choice((["x"], [1, "x"], [None, True], [{"a": 1}], [[1]])),
    "const": lambda r, d: r.choice((1, 1.0, True, "x")),
    "anyOf": lambda r, d: [below(r, d), below(r, d)],
    "oneOf": lambda r, d: [below(r, d), below(r, d)],
    "allOf": lambda r, d: [below(r, d)],
    "not": lambda r, d: below(r, d),
    "patternProperties": lambda r, d: {"^a": below(r, d)},
    "prefixItems": lambda r, d: [below(r, d)],
}
PLAIN: list[Any] = [None, True, False, 0, 1, 2.5, 3, "", "x", "xyz"]
VALUES: list[Any] = [
    *PLAIN,
    *([one] for one in PLAIN), [], ["x", 1], [[1]], [{}],
    *({"a": one} for one in PLAIN), {}, {"b": "x"}, {"a": "x", "b": 1}, {"c": "x"}, {"a": {"a": "x"}},
    {"a": []},
]  # fmt: skip


def test_claims_hold_for_every_value() -> None:
    rng, claims = random.Random(7), 0
    for _ in range(6000):
        inner = schema(rng)
        outer = schema(rng, 1) if rng.random() < 0.7 else {**inner, **schema(rng, 1)}
        if misfit(inner, outer) is not None:
            continue
        claims += 1
        narrow, wide = Draft202012Validator(inner), Draft202012Validator(outer)
        for value in VALUES:
            assert not narrow.is_valid(value) or wide.is_valid(value), (inner, outer, value)
    assert claims > 300
