"""Answers in JSON, each given up to where it says something."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any

import pytest

from launch.training.data.objects import in_json, said_before, several_fields, without_arguments
from launch.training.examples import Example

NAMED = Example("Definition: a thing", "table")
Way = Callable[[Example, random.Random], Example]


def object_in(answer: str) -> dict[str, Any]:
    """An answer in JSON, or the arguments of the call that it is."""
    said = json.loads(answer.removeprefix("<tool_call>").removesuffix("</tool_call>"))
    call = said[0] if isinstance(said, list) else said
    found: dict[str, Any] = call.get("parameters", call.get("arguments", call))
    return found


def many(way: Way) -> list[tuple[Example, dict[str, Any]]]:
    rng = random.Random(1)
    examples = [way(NAMED, rng) for _ in range(400)]
    return [(example, object_in(example.answer)) for example in examples]


@pytest.mark.parametrize("way", [in_json, several_fields, said_before])
def test_it_is_an_object_or_a_call_in_either_form_given_up_to_its_first_value(way: Way) -> None:
    made = many(way)
    assert {example.answer[0] for example, _ in made} == {"{", "[", "<"}
    for example, said in made:
        first = next(iter(said.values()))
        rest = example.answer.removeprefix(example.given)
        assert rest != example.answer
        assert rest.startswith(f'{first}"' if example.given.endswith('"') else json.dumps(first))


def test_a_name_is_the_only_field() -> None:
    assert all([*said.values()] == ["table"] and one.prompt == NAMED.prompt for one, said in many(in_json))


def test_calls_of_tools_that_take_nothing_are_closed_at_once() -> None:
    made = many(without_arguments)
    ends = {example.answer.removeprefix(example.given) for example, _ in made}
    assert ends == {"}}]", "}}\n</tool_call>"}
    assert 0.4 < sum(example.prompt == NAMED.prompt for example, _ in made) / len(made) < 0.6


def test_several_fields_are_all_short() -> None:
    made = many(several_fields)
    assert {len(said) for _, said in made} == {2, 3}
    assert max(len(value.split()) for _, said in made for value in said.values()) < 12
    assert 0.15 < sum(example.prompt == NAMED.prompt for example, _ in made) / len(made) < 0.35


def test_arguments_are_those_that_the_prompt_names() -> None:
    made = many(said_before)
    assert {type(value) for _, said in made for value in said.values()} == {int, str}
    assert {len(said) for _, said in made} == {1, 2}
    for example, said in made:
        assert all(str(value) in example.prompt for value in said.values())
