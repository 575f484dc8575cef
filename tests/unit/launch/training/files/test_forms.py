"""Rows of the forms that there are, as turns; and those that nothing can be learned from."""

from __future__ import annotations

from typing import Any

import pytest

from launch.training.files.forms import Chat, chat_of
from launch.training.files.rows import BrokenRow

ONE = Chat(None, (("user", "p"), ("assistant", "a")), (1,))
SAID = Chat("s", ONE.turns, (1,))


def chat(*turns: str, **more: Any) -> dict[str, Any]:
    """OpenAI's messages, each turn written as `role text`."""
    pairs = [turn.partition(" ")[::2] for turn in turns]
    return {"messages": [{"role": role, "content": text} for role, text in pairs], **more}


def share(*turns: str, **more: Any) -> dict[str, Any]:
    """The same as ShareGPT has it."""
    pairs = [turn.partition(" ")[::2] for turn in turns]
    return {"conversations": [{"from": role, "value": text} for role, text in pairs], **more}


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        (chat("user p", "assistant a"), ONE),
        (
            {
                "messages": [
                    turn | {"thinking": None, "train": None}
                    for turn in chat("user p", "assistant a")["messages"]
                ]
            },
            ONE,
        ),
        (chat("developer s", "user p", "assistant a", prompt="p", tools=[]), SAID),
        (chat("system ", "user p", "assistant a"), ONE),
        (share("human p", "gpt a"), ONE),
        (share("Human p", "chatgpt a", system="s"), SAID),
        (share("system s", "user p", "assistant a", system="other"), SAID),
        ({"conversations": chat("user p", "assistant a")["messages"]}, ONE),
        (chat("user p", "assistant a", "user q"), ONE),  # nothing is learned of the last
        ({"instruction": "p", "output": "a"}, ONE),
        ({"instruction": "p", "input": "", "output": "a", "system": "s", "text": "###"}, SAID),
        ({"instruction": "p", "context": None, "response": "a", "category": "qa"}, ONE),
    ],
)
def test_each_form_is_the_same_chat(row: dict[str, Any], expected: Chat) -> None:
    assert chat_of(row) == expected


def test_prompt_and_answer_are_no_chat() -> None:
    for row in (
        {"prompt": "p", "answer": "a", "text": "t"},
        {"prompt": "p", "completion": "a", "label": True},
    ):
        assert chat_of(row) is None


def test_an_alpacas_input_is_the_line_below_and_its_history_comes_before() -> None:
    row = {"instruction": "p", "input": "more", "output": "b", "history": [["q", "a"]]}
    turns = (("user", "q"), ("assistant", "a"), ("user", "p\nmore"), ("assistant", "b"))
    assert chat_of(row) == Chat(None, turns, (1, 3))


def test_every_answer_is_learned_but_those_that_are_marked_or_given() -> None:
    row = chat("user p", "assistant a", "user q", "assistant b")
    assert chat_of(row) == Chat(None, tuple((t["role"], t["content"]) for t in row["messages"]), (1, 3))
    for mark in ({"weight": 0}, {"train": False}):
        marked = [row["messages"][0], row["messages"][1] | mark, *row["messages"][2:]]
        assert getattr(chat_of({"messages": marked}), "learned", None) == (3,)
    parted = {"prompt": row["messages"][:3], "completion": row["messages"][3:]}
    assert getattr(chat_of(parted), "learned", None) == (3,)


def test_a_tools_answer_is_read_and_not_learned() -> None:
    found = chat_of(share("human p", "gpt <call>", "tool 3", "observation 4", "gpt a"))
    assert found is not None
    assert [role for role, _ in found.turns] == ["user", "assistant", "tool", "tool", "assistant"]
    assert found.learned == (1, 4)


def test_text_in_parts_is_joined_as_an_engine_does() -> None:
    parts = [{"type": "text", "text": "p"}, {"type": "text", "text": "q"}]
    row = {"messages": [{"role": "user", "content": parts}, {"role": "assistant", "content": "a"}]}
    found = chat_of(row)
    assert found is not None
    assert found.turns[0] == ("user", "p\nq")


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"messages": "hello"}, "has 'messages' that are no list"),
        ({"messages": []}, "no turn of the user"),
        ({"messages": ["p", "a"]}, r"a turn \(1\) that is no object"),
        (chat("system s"), "no turn of the user"),
        (chat("user p"), "no answer behind the user's turn; write the assistant's, or drop the line"),
        (chat("assistant a", "user p", "assistant a"), "begins with the assistant's turn; drop it"),
        (chat("user p", "user q", "assistant a"), r"a turn of the user \(2\) behind one of the user"),
        (chat("user p", "assistant a", "assistant b"), r"turn of the assistant \(3\) behind one"),
        (chat("user p", "assistant a", "system s"), "a system message as turn 3; put it first"),
        (chat("user p", "bot a"), r"a turn \(2\) of 'bot'; it is system, user, assistant or tool"),
        (chat("user p", "assistant "), r"\(turn 2, assistant\) has an empty 'content'"),
        (share("human p", "gpt "), r"\(turn 2, assistant\) has an empty 'value'"),
        ({"messages": [{"role": "user", "content": "p"}, {"role": "assistant"}]}, "has no 'content'"),
        (share("human p", "function_call {}", "observation 3", "gpt a"), r"a call of a tool \(turn 2\)"),
        (chat("user p", "assistant a", tools=[{"type": "function"}]), "has 'tools', which are not"),
        (
            {
                "messages": [
                    {"role": "user", "content": "p"},
                    {"role": "assistant", "content": "a", "thinking": "t"},
                ]
            },
            r"has 'thinking' \(turn 2\); write it into the content as the base does, or drop it",
        ),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "parts that are no text"),
        ({"prompt": [], "completion": []}, "no turn of the user"),
        (
            {"prompt": chat("user p", "assistant a")["messages"], "completion": []},
            "no answer that is learned",
        ),
        ({"prompt": "p", "chosen": "a", "rejected": "b"}, "a pair of preferences; keep the chosen one"),
        ({"prompt": "p", "completion": "a", "label": False}, "marked as a bad answer; drop the line"),
        ({"text": "all"}, "plain 'text', which does not say what is asked"),
        ({"input_ids": [1], "labels": [1]}, "made of token ids"),
        ({"instruction": "p", "output": ""}, "an empty 'output'; fill it or drop the line"),
        ({"instruction": "p", "output": "a", "history": [["q"]]}, "no list of pairs"),
        ({"instruction": "p \ud83d", "output": "a"}, r"half a character in 'instruction' \(\\ud83d\)"),
    ],
)
def test_a_row_that_cannot_be_learned_is_named_with_its_mend(row: dict[str, Any], reason: str) -> None:
    with pytest.raises(BrokenRow, match=reason):
        chat_of(row)
