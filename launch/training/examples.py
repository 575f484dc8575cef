"""Examples of a task: one prompt with its answer, kept as JSON lines."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

from gateway.errors import ConfigError

SHOWN_PROBLEMS = 5
LINE_SHAPE = 'write {"prompt": "…", "answer": "…"}'


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

    def as_json(self) -> str:
        """One line of a data file, without its end."""
        fields = {"prompt": self.prompt, "answer": self.answer}
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
    """What a data file holds; `system` is the prompt that its `messages` begin with, if they do."""

    path: Path
    examples: list[Example]
    lines: list[int] = field(repr=False)
    system: str | None = None

    def place(self, at: int) -> str:
        """Where an example stands, for an error."""
        return f"{self.path}:{self.lines[at]}"


class _BrokenLine(Exception):
    """A line that is no example; its text says why and what to do."""


def read_examples(path: Path, key: str = "--data") -> ExampleFile:
    """Reads JSON lines of `prompt` and `answer`, or of OpenAI's `messages`; empty lines are passed over.

    Raises ConfigError, which names every broken line by its number (the first few in full) and its mend.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except OSError as error:
        raise ConfigError(key, str(path), f"cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(key, str(path), f"is not UTF-8 ({error.reason}); save it as UTF-8") from error
    examples: list[Example] = []
    places: list[int] = []
    systems: dict[str | None, int] = {}
    problems: list[str] = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            system, example = _example_of(line)
            if systems and system not in systems:
                first = next(iter(systems.values()))
                raise _BrokenLine(f"has another system message than line {first}; one task has one")
        except _BrokenLine as error:
            problems.append(f"line {number} {error}")
            continue
        systems.setdefault(system, number)
        examples.append(example)
        places.append(number)
    if problems:
        more = len(problems) - SHOWN_PROBLEMS
        rest = f"; and {more} more" if more > 0 else ""
        raise ConfigError(key, str(path), "; ".join(problems[:SHOWN_PROBLEMS]) + rest)
    if not examples:
        raise ConfigError(key, str(path), f"holds no example; {LINE_SHAPE}, one a line")
    return ExampleFile(path, examples, places, next(iter(systems)))


def _example_of(line: str) -> tuple[str | None, Example]:
    try:
        fields = json.loads(line)
    except ValueError as error:
        raise _BrokenLine(f"is not JSON ({error}); {LINE_SHAPE} on a line of its own") from error
    except RecursionError as error:
        raise _BrokenLine(f"is nested too deep; {LINE_SHAPE}") from error
    if not isinstance(fields, dict):
        raise _BrokenLine(f"is no object; {LINE_SHAPE}")
    if "messages" in fields:
        return _turns_of(fields["messages"])
    begun, ended = fields.get("prompt"), fields.get("completion")
    if isinstance(begun, list) and isinstance(ended, list):  # the same messages, as TRL parts them
        return _turns_of([*begun, *ended])
    prompt = _text_of(fields, "prompt")
    answer = _text_of(fields, "answer" if "answer" in fields or "completion" not in fields else "completion")
    extra = {name: _tuple_of(fields, name) for name in ("synsets", "terms", "lemmas", "open")}
    lists = {name: _tuples_of(fields, name) for name in ("groups", "names")}
    given = fields.get("given") or ""
    if not isinstance(given, str) or not answer.startswith(given) or given == answer:
        raise _BrokenLine("has a 'given' that its answer does not begin with; write the whole answer too")
    return None, Example(prompt, answer, given=given, **lists, **extra)  # type: ignore[arg-type]  # each of its own kind


def _text_of(fields: dict[str, object], name: str) -> str:
    value = fields.get(name)
    if value is None:
        raise _BrokenLine(f"has no '{name}'; {LINE_SHAPE}")
    if not isinstance(value, str):
        raise _BrokenLine(f"has a '{name}' that is no text; put it in quotes")
    if not value.strip():
        raise _BrokenLine(f"has an empty '{name}'; fill it or drop the line")
    return value


def _tuple_of(fields: dict[str, object], name: str) -> tuple[str, ...]:
    value = fields.get(name)
    return tuple(str(item) for item in value) if isinstance(value, list) else ()


def _tuples_of(fields: dict[str, object], name: str) -> tuple[tuple[str, ...], ...]:
    value = fields.get(name)
    lists = value if isinstance(value, list) else []
    return tuple(tuple(str(item) for item in inner) for inner in lists if isinstance(inner, list))


def _turns_of(messages: object) -> tuple[str | None, Example]:
    """A system message or none, one of the user, one of the assistant: what one request to a task is."""
    turns = messages if isinstance(messages, list) else []
    roles = [turn.get("role") if isinstance(turn, dict) else None for turn in turns]
    if roles not in (["user", "assistant"], ["system", "user", "assistant"]):
        raise _BrokenLine("has other 'messages' than [system,] user, assistant; give one turn of each")
    contents = []
    for turn in turns:
        try:
            contents.append(_text_of(turn, "content"))
        except _BrokenLine as error:
            raise _BrokenLine(f"({turn['role']}) {error}") from error
    system = contents[0] if len(contents) == 3 else None
    return system, Example(contents[-2], contents[-1])
