"""Schemas that are sound and that the engine's grammar library fails on by itself."""

from __future__ import annotations

import json
import re

import pytest

from tests.engine.asked import post
from tests.engine.conftest import RealStack

pytestmark = pytest.mark.engine


def test_a_pattern_that_repeats_over_128_times_is_followed(real: RealStack) -> None:
    pattern = "^[a-z]{2,140}$"
    schema = {
        "type": "object",
        "properties": {"word": {"type": "string", "pattern": pattern}},
        "required": ["word"],
        "additionalProperties": False,
    }
    answer = post(
        real,
        "/v1/chat/completions",
        model="base",
        messages=[{"role": "user", "content": "Give me one short word as JSON."}],
        temperature=0,
        max_tokens=200,
        response_format={"type": "json_schema", "json_schema": {"name": "word", "schema": schema}},
    )
    assert answer.status_code == 200, answer.text
    assert re.fullmatch(pattern, json.loads(answer.json()["choices"][0]["message"]["content"])["word"])
