"""Examples of a task: one prompt with its answer, out of the rows of a data file."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

from gateway.errors import ConfigError
from launch.training.files.forms import Turn, chat_of, system_of, text_of
from launch.training.files.rows import LINE_SHAPE, BrokenRow, read_rows

SHOWN_PROBLEMS = 5


@dataclass(frozen=True, slots=True)
class Example:
    """One prompt with its answer; the rest, but for `open` and `given`, serves the evaluation alone."""

    prompt: str
    answer: str
    synsets: tuple[str, ...] = ()
    terms: tuple[str, ...] = ()
    groups: tuple[tuple[str, ...], ...] = ()
    lemmas: tuple[str, ...] = ()
    names: tuple[tuple[str, ...], ...] = ()
    """For each group the names that are right, the likeliest first."""
    open: tuple[str, ...] = ()
    """Parts of the answer that could as well be said in other words: training minds them less."""
    given: str = ""
    """How the answer begins where an engine holds it to a schema; it is not learned, what follows it is."""
    turns: tuple[Turn, ...] = ()
    """All that the answer follows, from the user's first turn on, where that is more than the prompt."""

    @property
    def opening(self) -> str:
        """What the user said first; examples out of one conversation share it."""
        return self.turns[0][1] if self.turns else self.prompt

    def messages(self, system: str | None) -> list[dict[str, str]]:
        """What an engine is asked."""
        turns = [*([("system", system)] if system else []), *(self.turns or [("user", self.prompt)])]
        return [{"role": role, "content": text} for role, text in turns]

    def as_json(self) -> str:
        """One line of a data file, without its end."""
        fields: dict[str, object] = {"prompt": self.prompt, "answer": self.answer}
        if self.turns:
            answer = {"role": "assistant", "content": self.answer}
            fields = {"prompt": self.messages(None), "completion": [answer]}
        extra = {
            "synsets": self.synsets,
            "terms": self.terms,
            "groups": self.groups,
            "lemmas": self.lemmas,
            "names": self.names,
            "open": self.open,
            "given": self.given,
        }
        return json.dumps(fields | {key: value for key, value in extra.items() if value}, ensure_ascii=False)


@dataclass(frozen=True, slots=True)
class ExampleFile:
    """What a data file holds; `system` is the system prompt that its rows have, if they do."""

    path: Path
    examples: list[Example]
    lines: list[int] = field(repr=False)
    system: str | None = None
    unit: str = "line"
    """What `lines` counts: an array has rows."""

    def place(self, at: int) -> str:
        """Where an example stands, for an error."""
        number = self.lines[at]
        return f"{self.path}:{number}" if self.unit == "line" else f"{self.path}, {self.unit} {number}"


def read_examples(path: Path, key: str = "--data") -> ExampleFile:
    """Reads the rows of a file, whichever known form each has; a chat is one example for each of its answers.

    Raises ConfigError, which names every broken row by its number (the first few in full) and its mend.
    """
    file = read_rows(path, key)
    examples: list[Example] = []
    places: list[int] = []
    systems: dict[str | None, int] = {}
    problems: list[str] = []
    for number, row in file.rows:
        try:
            system, found = _examples_of(row)
            if systems and system not in systems:
                first = f"{file.unit} {next(iter(systems.values()))}"
                what = "has another system message than" if system else "has no system message, unlike"
                raise BrokenRow(f"{what} {first}; one task has one")
        except BrokenRow as error:
            problems.append(f"{file.unit} {number} {error}")
            continue
        systems.setdefault(system, number)
        examples += found
        places += [number] * len(found)
    if problems:
        more = len(problems) - SHOWN_PROBLEMS
        rest = f"; and {more} more" if more > 0 else ""
        raise ConfigError(key, str(path), "; ".join(problems[:SHOWN_PROBLEMS]) + rest)
    if not examples:
        raise ConfigError(key, str(path), f"holds no example; {LINE_SHAPE}, one a line")
    return ExampleFile(path, examples, places, next(iter(systems)), file.unit)


def _examples_of(row: object) -> tuple[str | None, list[Example]]:
    if isinstance(row, BrokenRow):
        raise row
    if not isinstance(row, dict):
        raise BrokenRow(f"is no object; {LINE_SHAPE}")
    chat = chat_of(row)
    if chat is None:
        return system_of(row), [_own(row)]
    return chat.system, [_answered(chat.turns[:at], chat.turns[at][1]) for at in chat.learned]


def _answered(before: tuple[Turn, ...], answer: str) -> Example:
    return Example(before[-1][1], answer, turns=before if len(before) > 1 else ())


def _own(fields: dict[str, object]) -> Example:
    prompt = text_of(fields, "prompt")
    answer = text_of(fields, "answer" if "answer" in fields or "completion" not in fields else "completion")
    extra = {name: _tuple_of(fields, name) for name in ("synsets", "terms", "lemmas", "open")}
    lists = {name: _tuples_of(fields, name) for name in ("groups", "names")}
    given = fields.get("given") or ""
    if not isinstance(given, str) or not answer.startswith(given) or given == answer:
        raise BrokenRow("has a 'given' that its answer does not begin with; write the whole answer too")
    return Example(prompt, answer, given=given, **lists, **extra)  # type: ignore[arg-type]  # each of its own kind


def _tuple_of(fields: dict[str, object], name: str) -> tuple[str, ...]:
    value = fields.get(name)
    return tuple(str(item) for item in value) if isinstance(value, list) else ()


def _tuples_of(fields: dict[str, object], name: str) -> tuple[tuple[str, ...], ...]:
    value = fields.get(name)
    lists = value if isinstance(value, list) else []
    return tuple(tuple(str(item) for item in inner) for inner in lists if isinstance(inner, list))
