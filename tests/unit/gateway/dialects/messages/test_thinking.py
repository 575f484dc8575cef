"""How long to think, as Anthropic's API has it: of a client's own words, and of a task's in a chat's."""

from __future__ import annotations

import json

import msgspec
import pytest

from gateway.config.document import JsonObject
from gateway.dialects.messages import thinking
from gateway.dialects.request_body import fields_of, raw_of


@pytest.mark.parametrize(
    ("budget", "most", "left"),
    [
        (2047, 2048, {"type": "enabled", "budget_tokens": 2047}),
        (2048, 2048, {"type": "enabled", "budget_tokens": 2047}),
        (1024, 1025, {"type": "enabled", "budget_tokens": 1024}),
        (1024, 1024, {"type": "adaptive"}),  # no budget that the engine takes has room
        (None, 16, {"type": "enabled", "budget_tokens": None}),
    ],
)
def test_a_budget_stays_below_the_answers_length(budget: int | None, most: int, left: JsonObject) -> None:
    asked: JsonObject = {"type": "enabled", "budget_tokens": budget}
    fields = fields_of({"thinking": asked, "max_tokens": most})
    changed = thinking.lower_budget(fields)
    assert json.loads(bytes(fields["thinking"])) == left
    assert list(changed) == (["thinking.budget_tokens"] if left != asked else [])


@pytest.mark.parametrize(("chats", "effort"), [("minimal", "low"), ("low", "low"), ("high", "high")])
def test_no_effort_is_less_than_low(chats: str, effort: str) -> None:
    assert json.loads(bytes(thinking.effort(raw_of(chats)))) == effort


@pytest.mark.parametrize(
    ("asked", "off"),
    [({}, True), ({"output_config": {}}, True), ({"output_config": {"effort": "high"}}, False)],
)
def test_a_task_without_effort_turns_thinking_off_where_the_client_asks_for_none(
    asked: JsonObject, off: bool
) -> None:
    seed = msgspec.Raw(b"1")
    defaults = thinking.as_defaults({"reasoning_effort": raw_of("none"), "seed": seed}, fields_of(asked))
    assert defaults.keys() == ({"seed", "thinking"} if off else {"seed"})
    some = {"reasoning_effort": raw_of("low"), "seed": seed}
    assert thinking.as_defaults(some, fields_of(asked)) == some
