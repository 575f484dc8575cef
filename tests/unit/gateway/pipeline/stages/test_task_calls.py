"""A streamed answer, added up: each thing it says comes with whichever piece has it."""

from __future__ import annotations

from gateway.http.event_stream import TokenUsage
from gateway.pipeline.stages.task_calls import Answer, Collected, Delta


def test_pieces_add_up_and_the_last_word_counts() -> None:
    collected = Collected()
    for delta in (
        Delta("a", adapter="naming@1"),
        Delta("b", usage=TokenUsage(1, 1)),
        Delta("", finish_reason="stop", usage=TokenUsage(3, 2)),
        Delta(""),
    ):
        collected.add(delta)
    assert collected.answer() == Answer("ab", TokenUsage(3, 2), "naming@1", "stop")


def test_nothing_is_an_empty_answer_and_a_fallback_is_remembered() -> None:
    collected = Collected()
    assert collected.answer() == Answer("", TokenUsage(), "", None)
    collected.add(Delta("x", adapter="openai/gpt", fallback=True))
    collected.add(Delta("y"))
    assert collected.answer() == Answer("xy", TokenUsage(), "openai/gpt", None, True)
