"""How long a request lets its answer be."""

from __future__ import annotations

import msgspec

from gateway.dialects.cost.answer_length import answer_tokens


def fields(**given: object) -> dict[str, msgspec.Raw]:
    return {name: msgspec.Raw(msgspec.json.encode(value)) for name, value in given.items()}


def test_the_request_says_it_else_its_task_else_what_is_usual() -> None:
    assert answer_tokens(fields(max_tokens=7), fields(max_tokens=9)) == 7
    assert answer_tokens(fields(max_output_tokens=5), {}) == 5
    assert answer_tokens(fields(max_tokens=None), fields(max_completion_tokens=9)) == 9
    assert answer_tokens({}, {}) == 1024
