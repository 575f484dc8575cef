"""The answer's document, written as soon as all before it is there; chance does not decide its order."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from gateway.config.document import JsonObject
from gateway.pipeline.compile import compile_pipelines
from gateway.pipeline.output_document import DocumentWriter, compact, ordered
from tests.support.stack import config_of

ELEMENTS = [{"definition": str(number), "name": f"n{number}"} for number in range(5)]
SOURCE: JsonObject = {"z": 1, "concepts": [{"definition": str(number)} for number in range(5)], "a": "x"}


def fan_of(folder: Path):  # type: ignore[no-untyped-def]  # the pipeline's own
    (pipeline,) = compile_pipelines(config_of(folder)).values()
    (fan,) = pipeline.fans
    return fan


@pytest.mark.parametrize("seed", range(10))
def test_any_order_of_coming_is_the_same_document(tmp_path: Path, seed: int) -> None:
    fan = fan_of(tmp_path)
    writer, text = DocumentWriter((fan,)), ""
    steps: list[int] = [*range(5), -1]
    random.Random(seed).shuffle(steps)
    for step in steps:
        text += writer.source(SOURCE) if step < 0 else writer.element(fan, step, dict(ELEMENTS[step]))
    assert writer.complete
    assert text == compact({"concepts": [ordered(one, fan) for one in ELEMENTS], "a": "x", "z": 1})
    assert list(json.loads(text)["concepts"][0]) == ["name", "definition"]


def test_element_is_written_once_all_before_it_are(tmp_path: Path) -> None:
    fan = fan_of(tmp_path)
    writer = DocumentWriter((fan,))
    assert writer.element(fan, 1, dict(ELEMENTS[1])) == ""
    assert writer.element(fan, 0, dict(ELEMENTS[0])).count("definition") == 2
    assert not writer.complete


def test_empty_list_is_a_whole_document(tmp_path: Path) -> None:
    writer = DocumentWriter((fan_of(tmp_path),))
    assert writer.source({"concepts": []}) == '{"concepts":[]}'
    assert writer.complete


def test_infinity_is_no_json() -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        compact(float("inf"))
