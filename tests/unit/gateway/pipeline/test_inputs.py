"""From a client's request to input, terms and sampling."""

from __future__ import annotations

import asyncio
import json

import pytest

from gateway.config.document import JsonObject
from gateway.errors import InvalidRequest
from gateway.pipeline.inputs import Input, check_members, memory_bytes, read_input
from gateway.pipeline.terms import SLICE, Term, in_slices, terms_in_text
from tests.support.pipeline_script import chat
from tests.support.steps import at_once


def read(body: JsonObject, pipeline: str, max_terms: int) -> Input:
    return at_once(read_input(body, pipeline, max_terms))


def terms(text: str) -> list[tuple[str, str | None]]:
    return [(term.term, term.gloss) for term in read(chat(text), "p", 512).terms]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("apple: a fruit\nbus", [("apple", "a fruit"), ("bus", None)]),
        ("- apple\n* bus: a vehicle.\n3. tram", [("apple", None), ("bus", "a vehicle."), ("tram", None)]),
        ("Group these:\napple\nbus", [("apple", None), ("bus", None)]),
        ("apple, bus,ice cream", [("apple", None), ("bus,ice cream", None)]),
        ("犬、猫，鸟", [("犬", None), ("猫", None), ("鸟", None)]),
        ("犬：動物\n猫", [("犬", "動物"), ("猫", None)]),
        ("violin", [("violin", None)]),
        ("C++\nstd::vector\nhttp://x", [("C++", None), ("std::vector", None), ("http://x", None)]),
        ("bus\nbus: a vehicle\nbus", [("bus", "a vehicle")]),
        ('["a\\"b", {"term": "c\\\\", "gloss": "g"}]', [('a"b', None), ("c\\", "g")]),
        ('{"terms": ["a", "a", " "]}', [("a", None)]),
        ('{"id": "x", "cluster": [{"term": "a", "gloss": null}]}', [("a", None)]),
        ('{"items": ["\\u0001é😀\\n"]}', [("\x01é😀", None)]),
        ("This is a sentence about nothing in particular.", []),
        ("Hello, how are you today?", []),
        ("{not json", [("{not json", None)]),
        ('```json\n["a", "b"]\n```\n', [("a", None), ("b", None)]),
        ("```\napple\nbus\n```", [("apple", None), ("bus", None)]),
        ('```json\r\n["a", "b"]\r\n```\r\n', [("a", None), ("b", None)]),
        ('\ufeff["a", "b"]', [("a", None), ("b", None)]),
        ("\ufeffapple\nbus", [("apple", None), ("bus", None)]),
        ('{"question": "why"}', []),
        ('{"items": {"a": 1}, "question": "why"}', []),
        ('{"items": [1, 2]}', []),
        ("[1, 2]", []),
    ],
)
def test_terms_of_an_input(text: str, expected: list[tuple[str, str | None]]) -> None:
    assert terms(text) == expected


def test_json_is_parsed_and_other_text_is_not() -> None:
    assert read(chat(' {"a": [1]}'), "p", 9).value == {"a": [1]}
    assert read(chat("[1, "), "p", 9).value == "[1, "
    assert read(chat("x y"), "p", 9).value == "x y"
    fenced = read(chat('```json\n{"a": [1]}\n```'), "p", 9)
    assert (fenced.value, fenced.text) == ({"a": [1]}, '```json\n{"a": [1]}\n```')
    for text in ("```py\nx = 1\n```", "```\n[1]\n```\nand\n```\n[2]\n```"):  # as it came
        assert read(chat(text), "p", 9).value == text


def test_text_parts_are_joined() -> None:
    body: JsonObject = {
        "messages": [
            {"role": "user", "content": "earlier"},
            {"role": "assistant", "content": "answer"},
            {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
        ]
    }
    assert read(body, "p", 9).terms == (Term("a"), Term("b"))


@pytest.mark.parametrize("text", ["", "  \n", "[]", "{}", '{"terms": []}', '{"terms": null}', '["", " "]'])
def test_an_empty_input_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequest, match="empty") as caught:
        read(chat(text), "p", 9)
    assert (caught.value.param, caught.value.code) == ("messages", "empty_input")


def test_too_many_terms_are_refused_with_both_numbers() -> None:
    with pytest.raises(InvalidRequest, match=r"10 terms.*at most 9.*pipelines\.p\.max_input_terms"):
        read(chat(json.dumps([f"t{n}" for n in range(10)])), "p", 9)


@pytest.mark.parametrize(
    ("messages", "param"),
    [
        (None, "messages"),
        ([], "messages"),
        (["x"], "messages[0]"),
        ([{"role": "assistant", "content": "a"}], "messages[0].role"),
        ([{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}], "messages[0].content[0]"),
        ([{"role": "user", "content": 7}], "messages[0].content"),
    ],
)
def test_messages_that_a_pipeline_cannot_read_are_refused(messages: object, param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        read({"messages": messages}, "p", 9)  # type: ignore[dict-item]  # wrong on purpose
    assert caught.value.param == param


def test_a_list_that_mixes_terms_and_others_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="element 1"):
        read(chat('["a", 7]'), "p", 9)


def test_a_trailing_heading_alone_is_a_term_of_its_own() -> None:
    assert at_once(terms_in_text("Terms:")) == [Term("Terms:")]


@pytest.mark.anyio
@pytest.mark.parametrize("text", ["a\n" * 20_000, "a, " * 20_000 + "b", json.dumps(["a"] * 20_000)])
async def test_others_have_their_turns_while_a_long_input_is_read(text: str) -> None:
    reading = asyncio.ensure_future(in_slices(read_input(chat(text), "p", 9)))
    turns = 0
    while not reading.done():
        await asyncio.sleep(0)
        turns += 1
    assert turns > 20_000 / SLICE
    assert reading.result().terms[0] == Term("a")


@pytest.mark.parametrize(
    ("part", "most"),
    [
        ("[],", 22),
        ("[[[[[]]]]],", 30),
        ("1.5,", 9),
        ('{"a": 1},', 20),
        ("a\\n", 22),
        ("a, ", 20),
        ("word ", 2),
    ],
)
def test_what_an_input_takes_of_memory_is_not_underestimated(part: str, most: int) -> None:
    """`most`: measured bytes for each that was sent."""
    raw = part.encode() * 10_000
    assert memory_bytes(raw, check_members(raw, "p", len(raw))) >= most * len(raw)
    usual = b'[{"role":"user","content":"apple, bus, tram"}]'
    assert memory_bytes(usual, check_members(usual, "p", 100)) < 2000
