"""One row of a data file as the turns of a chat, whichever form it has; each form is one small reader.

OpenAI's and TRL's `messages`, whole or as `prompt` and `completion`; ShareGPT's `conversations`; Alpaca's
`instruction`, `input` and `output`, as Dolly's `context` and `response` too. `prompt` and `answer` are this
project's own form, which `launch.training.examples` reads.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from launch.training.files.rows import LINE_SHAPE, BrokenRow

Fields = Mapping[str, object]
Turn = tuple[str, str]
"""Role and text."""

ROLES = {
    **dict.fromkeys(("system", "developer"), "system"),
    **dict.fromkeys(("user", "human"), "user"),
    **dict.fromkeys(("assistant", "gpt", "chatgpt", "bing", "bard", "model"), "assistant"),
    **dict.fromkeys(("tool", "observation", "function", "function_response"), "tool"),
}
"""What the roles are called in the files that there are, and in a chat."""
THOUGHTS = ("thinking", "reasoning_content", "reasoning")
"""Fields of a turn that each base's chat template has in another place, or leaves out."""
FOLLOWERS = {
    "user": ("assistant",),
    "assistant": ("user", "tool"),
    "tool": ("tool", "assistant"),
}
UNREAD = (
    (("chosen", "rejected"), "is a pair of preferences; keep the chosen one, as the answer"),
    (("input_ids",), f"is made of token ids, which are another base's perhaps; {LINE_SHAPE}"),
    (("text",), f"is plain 'text', which does not say what is asked and what is answered; {LINE_SHAPE}"),
)
"""Forms by their fields that no reader takes, and what to do with them."""


@dataclass(frozen=True, slots=True)
class Chat:
    """Turns from the user's first to the last that is learned; `learned` are the places of all that are."""

    system: str | None
    turns: tuple[Turn, ...]
    learned: tuple[int, ...]


def chat_of(fields: Fields) -> Chat | None:
    """None for a row of prompt and answer. Raises BrokenRow, also for a row of a form that is not read."""
    if fields.get("tools") not in (None, "", "[]", []):
        raise BrokenRow("has 'tools', which are not put into the prompt; say them in the system message")
    if fields.get("kto_tag") is False or ("completion" in fields and fields.get("label") is False):
        raise BrokenRow("is marked as a bad answer; drop the line")
    begun, ended = fields.get("prompt"), fields.get("completion")
    for name in ("messages", "conversations"):
        if fields.get(name) is not None:
            return _chat(system_of(fields), _list(fields, name))
    if isinstance(begun, list) and isinstance(ended, list):  # the same messages, as TRL parts them
        return _chat(system_of(fields), [*begun, *ended], len(begun))
    if "instruction" in fields:
        return _alpaca(fields)
    unread = (why for names, why in UNREAD if all(name in fields for name in names))
    if "answer" not in fields and "completion" not in fields and (why := next(unread, "")):
        raise BrokenRow(why)
    return None


def text_of(fields: Fields, name: str) -> str:
    """Raises BrokenRow where there is none, or nothing but spaces."""
    value = fields.get(name)
    if isinstance(value, list):
        value = _joined(value, name)
    if value is None:
        raise BrokenRow(f"has no '{name}'; {LINE_SHAPE}")
    if not isinstance(value, str):
        raise BrokenRow(f"has a '{name}' that is no text; put it in quotes")
    if not value.strip():
        raise BrokenRow(f"has an empty '{name}'; fill it or drop the line")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        half = f"\\u{ord(value[error.start]):04x}"
        raise BrokenRow(f"has half a character in '{name}' ({half}); write it whole or drop it") from error
    return value


def system_of(fields: Fields) -> str | None:
    """The system prompt that stands beside what is asked, if one does."""
    return text_of(fields, "system") if fields.get("system") not in (None, "") else None


def _joined(parts: Sequence[object], name: str) -> str:
    """A content in parts, as an engine joins them."""
    texts = [part.get("text") if isinstance(part, dict) else None for part in parts]
    found = [text for text in texts if isinstance(text, str)]
    if len(found) < len(texts):
        raise BrokenRow(f"has a '{name}' with parts that are no text; only text is learned")
    return "\n".join(found)


def _list(fields: Fields, name: str) -> list[object]:
    turns = fields[name]
    if not isinstance(turns, list):
        raise BrokenRow(f"has '{name}' that are no list of turns; {LINE_SHAPE}")
    return turns


def _chat(system: str | None, given: Sequence[object], learned_from: int = 0) -> Chat:
    """Turns of `role` and `content`, or of `from` and `value`; a system message among them goes first."""
    turns: list[Turn] = []
    learned: list[int] = []
    for number, turn in enumerate(given, start=1):
        if not isinstance(turn, dict):
            raise BrokenRow(f"has a turn ({number}) that is no object of role and content")
        role = _role(turn, number)
        if role == "system" and number == 1:
            if (
                turn.get("content", turn.get("value")) != ""
            ):  # an empty one says nothing, and is written often
                system = _text(turn, role, number)
            continue
        text = _text(turn, role, number)
        before = turns[-1][0] if turns else None
        if role not in (FOLLOWERS[before] if before else ("user",)):
            raise BrokenRow(_disorder(role, before, number))
        if (
            role == "assistant"
            and number > learned_from
            and turn.get("weight") != 0
            and turn.get("train") is not False
        ):
            learned.append(len(turns))
        turns.append((role, text))
    if not turns:
        raise BrokenRow("has no turn of the user; write what is asked and what is answered")
    if not learned:
        last = turns[-1][0]
        if last != "assistant":
            raise BrokenRow(
                f"has no answer behind the {last}'s turn; write the assistant's, or drop the line"
            )
        raise BrokenRow("has no answer that is learned (their weight is 0, or they stand in the prompt)")
    return Chat(system, tuple(turns[: learned[-1] + 1]), tuple(learned))


def _role(turn: Fields, number: int) -> str:
    said = turn.get("role", turn.get("from"))
    if turn.get("tool_calls") or turn.get("function_call") or said == "function_call":
        raise BrokenRow(
            f"has a call of a tool (turn {number}), which each base writes otherwise; write its text"
        )
    if thought := next((name for name in THOUGHTS if turn.get(name)), None):
        raise BrokenRow(
            f"has '{thought}' (turn {number}); write it into the content as the base does, or drop it"
        )
    role = ROLES.get(said.lower()) if isinstance(said, str) else None
    if role is None:
        raise BrokenRow(f"has a turn ({number}) of {said!r}; it is system, user, assistant or tool")
    return role


def _text(turn: Fields, role: str, number: int) -> str:
    try:
        return text_of(turn, "content" if "content" in turn or "value" not in turn else "value")
    except BrokenRow as error:
        raise BrokenRow(f"(turn {number}, {role}) {error}") from error


def _disorder(role: str, before: str | None, number: int) -> str:
    if role == "system":
        return f"has a system message as turn {number}; put it first, once"
    if before is None:
        return f"begins with the {role}'s turn; drop it, or write before it what the user asked"
    return (
        f"has a turn of the {role} ({number}) behind one of the {before}; they take turns: join or drop one"
    )


def _alpaca(fields: Fields) -> Chat:
    """What is asked is the instruction and, on the next line, its input."""
    asked = text_of(fields, "instruction")
    more = next((name for name in ("input", "context") if fields.get(name) not in (None, "")), None)
    if more:
        asked += "\n" + text_of(fields, more)
    answer = text_of(fields, "response" if "response" in fields and "output" not in fields else "output")
    turns = [*_history(fields), ("user", asked), ("assistant", answer)]
    return Chat(system_of(fields), tuple(turns), tuple(range(1, len(turns), 2)))


def _history(fields: Fields) -> list[Turn]:
    pairs = fields.get("history") or []
    if not isinstance(pairs, list) or not all(isinstance(pair, list) and len(pair) == 2 for pair in pairs):
        raise BrokenRow("has a 'history' that is no list of pairs, asked and answered")
    said = [text_of({"history": text}, "history") for pair in pairs for text in pair]
    return list(zip(("user", "assistant") * len(pairs), said, strict=True))
