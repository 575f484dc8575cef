"""No two elements with one name."""

from __future__ import annotations

import asyncio

import pytest

from gateway.pipeline.settling.names import Names, is_free, numbered, unwanted

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("other", ["fruit", "FRUIT", " Fruit", "ｆruit"])
def test_a_name_is_taken_in_any_case_and_form(other: str) -> None:
    assert not is_free(other, ["vehicle", "fruit"])
    assert is_free("fruits", ["fruit"])


def test_a_number_makes_it_free() -> None:
    assert numbered("fruit", ["fruit"]) == "fruit (2)"
    assert numbered("Fruit", ["fruit", "fruit (2)"]) == "Fruit (3)"
    assert numbered("", [""]) == "(2)"


def test_unwanted_names_are_spelled_in_the_usual_cases() -> None:
    assert unwanted(["big cat", "", "Ox"]) == ["big cat", "Big Cat", "BIG CAT", "Ox", "ox", "OX"]


async def test_a_name_waits_for_those_before_it_alone() -> None:
    names = Names()
    assert await names.before(0) == []
    waiting = asyncio.create_task(names.before(2))
    names.know(1, "b")
    names.know(3, "d")
    await asyncio.sleep(0)
    assert not waiting.done()
    names.know(0, None)
    assert await waiting == ["b"]
