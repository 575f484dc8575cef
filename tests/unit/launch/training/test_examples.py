"""Data files of prompt and answer: what is read, and how a broken line is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gateway.errors import ConfigError
from launch.training.examples import Example, read_examples


def written(folder: Path, *lines: object) -> Path:
    path = folder / "own.jsonl"
    text = "".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines)
    path.write_text(text, encoding="utf-8")
    return path


def test_prompt_and_answer_are_read_and_empty_lines_passed_over(tmp_path: Path) -> None:
    path = written(tmp_path, {"prompt": "p", "answer": "a"}, "", {"prompt": "q", "completion": "b"})
    file = read_examples(path)
    assert file.examples == [Example("p", "a"), Example("q", "b")]
    assert file.place(1) == f"{path}:3"
    assert file.system is None


def test_a_line_separator_within_a_text_ends_no_line(tmp_path: Path) -> None:
    path = written(tmp_path, '{"prompt": "one\u2028two\u0085three", "answer": "a"}')
    assert len(read_examples(path).examples) == 1


def test_a_byte_order_mark_and_crlf_do_no_harm(tmp_path: Path) -> None:
    path = tmp_path / "own.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"prompt": "p", "answer": "a"}\r\n{"prompt": "q", "answer": "b"}\r\n')
    assert read_examples(path).examples == [Example("p", "a"), Example("q", "b")]


def test_fields_of_its_own_that_a_file_has_are_no_examples_groups(tmp_path: Path) -> None:
    line = {"prompt": "p", "answer": "a", "groups": [1, 2], "names": ["Anna"], "terms": 7}
    assert read_examples(written(tmp_path, line)).examples == [Example("p", "a")]


def test_messages_are_one_turn_each_and_their_system_message_is_the_tasks(tmp_path: Path) -> None:
    turns = [
        {"role": "system", "content": "Name it."},
        {"role": "user", "content": "p"},
        {"role": "assistant", "content": "a"},
    ]
    parted = {"prompt": turns[:2], "completion": turns[2:]}
    file = read_examples(written(tmp_path, {"messages": turns}, parted))
    assert file.system == "Name it."
    assert file.examples == [Example("p", "a")] * 2


def test_a_chat_is_one_example_for_each_of_its_answers(tmp_path: Path) -> None:
    turns = [("user", "p"), ("assistant", "a"), ("user", "q"), ("assistant", "b")]
    chat = {"messages": [{"role": role, "content": text} for role, text in turns]}
    file = read_examples(written(tmp_path, "", chat, {"prompt": "r", "answer": "c"}))
    second = Example("q", "b", turns=tuple(turns[:3]))
    assert file.examples == [Example("p", "a"), second, Example("r", "c")]
    assert [file.place(at) for at in range(3)] == [f"{file.path}:{line}" for line in (2, 2, 3)]
    assert (second.opening, Example("p", "a").opening) == ("p", "p")
    assert second.messages("s") == [{"role": "system", "content": "s"}, *chat["messages"][:3]]
    assert read_examples(written(tmp_path, second.as_json())).examples == [second]


def test_an_array_is_read_and_its_broken_rows_are_numbered(tmp_path: Path) -> None:
    path = tmp_path / "own.json"
    rows: list[object] = [{"instruction": "p", "input": "", "output": "a"}, {"instruction": "q"}]
    path.write_text(json.dumps(rows[:1], indent=2), encoding="utf-8")
    file = read_examples(path)
    assert (file.examples, file.place(0)) == ([Example("p", "a")], f"{path}, row 1")
    path.write_text(json.dumps(rows, indent=2), encoding="utf-8")
    with pytest.raises(ConfigError, match="row 2 has no 'output'"):
        read_examples(path)


def test_a_system_prompt_beside_a_prompt_is_the_tasks_and_must_stand_in_each_row(tmp_path: Path) -> None:
    own = {"system": "Name it.", "prompt": "p", "answer": "a"}
    assert read_examples(written(tmp_path, own)).system == "Name it."
    with pytest.raises(ConfigError, match="line 2 has no system message, unlike line 1; one task has one"):
        read_examples(written(tmp_path, own, {"prompt": "p", "answer": "a"}))


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("{", "is not JSON"),
        ('["p", "a"]', "is no object"),
        ({"prompt": "p"}, "has no 'answer'"),
        ({"answer": "a"}, "has no 'prompt'"),
        ({"prompt": "p", "answer": 3}, "an? 'answer' that is no text; put it in quotes"),
        ({"prompt": "p", "answer": "  "}, "has an empty 'answer'; fill it or drop the line"),
        ({"messages": [{"role": "user", "content": "p"}]}, "has no answer behind the user's turn"),
        (
            {"messages": [{"role": r, "content": "x"} for r in ("system", "user", "assistant")]},
            "another system message than line 1; one task has one",
        ),
        ("[" * 100_000, "nested too deep|is not JSON"),
        ({"prompt": "p", "answer": "a", "given": "b"}, "'given' that its answer does not begin with"),
        ({"prompt": "p", "answer": "a", "given": "a"}, "write the whole answer too"),
    ],
)
def test_a_broken_line_is_refused_with_its_number(tmp_path: Path, line: object, reason: str) -> None:
    path = written(tmp_path, {"prompt": "p", "answer": "a"}, line)
    with pytest.raises(ConfigError, match=f"line 2 .*{reason}"):
        read_examples(path)


def test_every_broken_line_counts_and_the_first_five_are_shown(tmp_path: Path) -> None:
    path = written(tmp_path, *["x"] * 8)
    with pytest.raises(ConfigError) as caught:
        read_examples(path)
    text = str(caught.value)
    assert all(f"line {number} " in text for number in range(1, 6))
    assert "line 6" not in text
    assert text.endswith("and 3 more")


def test_a_file_that_is_missing_empty_or_not_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        read_examples(tmp_path / "none.jsonl")
    with pytest.raises(ConfigError, match="holds no example"):
        read_examples(written(tmp_path, "", ""))
    (tmp_path / "latin.jsonl").write_bytes(b'{"prompt": "\xe4", "answer": "a"}\n')
    with pytest.raises(ConfigError, match="save it as UTF-8"):
        read_examples(tmp_path / "latin.jsonl")


def test_an_example_comes_back_from_its_own_line(tmp_path: Path) -> None:
    example = Example("p", "[ä]", ("1",), ("t",), (("t", "u"),), ("l",), given="[")
    assert read_examples(written(tmp_path, example.as_json())).examples == [example]
