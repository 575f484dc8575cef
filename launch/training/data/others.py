"""Prompts that are no task's: chats, several turns, JSON with and without a schema, bare words.

An adapter that saw nothing but its task's prompts answers them all as if they were its task's, or ends at
once. Training may keep what the base says to these (`launch.training.kept`); what is said here matters
little, so long as it is of many kinds. Two in five bear the task's own system prompt, as every request to a
task does whose client says none.
"""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

Role = Literal["system", "user", "assistant"]
Turn = tuple[Role, str]

TOPICS = (
    *("bread", "the moon", "chess", "volcanoes", "bicycles", "the Roman Empire", "jazz", "tea", "whales"),
    *("electricity", "gardening", "Japan", "mathematics", "the human heart", "football", "rivers", "bees"),
    *("printing", "winter", "computers", "mountains", "sleep", "money", "photography", "a small library"),
    *("dinosaurs", "the ocean", "painting", "trains", "coffee", "a lighthouse", "honesty", "robots", "rain"),
)
QUESTIONS = (
    "Tell me something about {}.",
    "What do you know about {}?",
    "Write two sentences about {}.",
    "Why do people care about {}?",
    "Explain {} to a child.",
    "Give me three facts about {}.",
    "Write a short poem about {}.",
    "List four words that have to do with {}.",
    "What is the first thing to learn about {}?",
    "Tell me a riddle about {}.",
    "Can you recommend a book about {}?",
    "How would you describe {} in one word?",
    "Translate '{}' into French.",
    "Make a headline about {}.",
    "i want to talk about {}",
    "{}",
    "{}?",
)
PLAIN = (
    *("hi", "Hello!", "good morning", "thanks", "ok", "test", "Who are you?", "What can you do?"),
    *("yes", "no"),
    *("What is 17 plus 5?", "Count from 1 to 5.", "Say it again, please.", "How was your day?", "a", "1 2 3"),
    *("Write a function in Python that adds two numbers.", "Spell the word house.", "Continue: once upon a"),
    *("What is the opposite of hot?", "Is the sky blue?", "Which is heavier, iron or wool?", "Help me.", "…"),
    *("Correct this: he go to school yesterday", "Summarize: The cat slept. Then it ate.", "What day is it?"),
    *("Put these in order: pear, apple, fig", "Repeat after me: green", "I am sad today.", "bye", "Why?"),
)
SYSTEMS = (
    "You are a helpful assistant.",
    "Answer briefly.",
    "You are a patient teacher.",
    "Be polite.",
    "Answer as JSON.",
    "You are a pirate. Speak like one.",
    "Use plain words and full sentences.",
    "hi",
    "You help customers of a bookshop.",
    "Today is Monday.",
)
OBJECTS: Sequence[tuple[str, ...]] = (
    ("title", "text"),
    ("question", "answer"),
    ("name", "age"),
    ("city", "country"),
    ("summary",),
    ("items",),
    ("color", "size", "price"),
    ("first", "second"),
    ("reason", "result"),
    ("word",),
)
REPLIES = (
    "Sure.",
    "Hello!",
    "Of course, here it is.",
    "I do not know.",
    "hi",
    "That is a good question.",
    "ok",
)
_LEAST_MESSAGES, _MOST_MESSAGES = 2, 6


@dataclass(frozen=True, slots=True)
class OtherPrompt:
    """What is said before the answer, and how the answer begins where a schema forces it to."""

    turns: tuple[Turn, ...]
    given: str = ""


def other_prompts(system: str | None, count: int, seed: int) -> list[OtherPrompt]:
    """So many different ones, the kinds in turn; the same for the same seed. `system`: the task's own."""
    rng = random.Random(seed)
    kinds = itertools.cycle((_asked, _several, _asked, _json, _asked, _held, _several, _plain))
    found: dict[OtherPrompt, None] = {}
    for kind in kinds:
        found[kind(rng, system)] = None
        if len(found) == count:
            break
    return list(found)


def _head(rng: random.Random, system: str | None) -> Iterator[Turn]:
    """The task's system prompt, as where a client says none, another, or none at all."""
    chosen = rng.choice((system, system, rng.choice(SYSTEMS), rng.choice(SYSTEMS), None))
    if chosen is not None:
        yield "system", chosen


def question(rng: random.Random) -> str:
    """One about one of the topics."""
    return rng.choice(QUESTIONS).format(rng.choice(TOPICS))


def _asked(rng: random.Random, system: str | None) -> OtherPrompt:
    return OtherPrompt((*_head(rng, system), ("user", question(rng))))


def _plain(rng: random.Random, system: str | None) -> OtherPrompt:
    return OtherPrompt((*_head(rng, system), ("user", rng.choice(PLAIN))))


def _several(rng: random.Random, system: str | None) -> OtherPrompt:
    """Turns as clients send them, some of them twice, some of one role after another."""
    turns = list(_head(rng, system))
    if turns and rng.random() < 0.3:
        turns *= 2
    said = [rng.choice(PLAIN) if rng.random() < 0.5 else question(rng) for _ in range(3)]
    for number in range(rng.randint(_LEAST_MESSAGES, _MOST_MESSAGES)):
        turn: Turn = ("user", rng.choice(said)) if number % 2 == 0 else ("assistant", rng.choice(REPLIES))
        turns += [turn] * (2 if rng.random() < 0.25 else 1)
    return OtherPrompt((*turns, ("user", rng.choice(PLAIN) if rng.random() < 0.5 else question(rng))))


def _json(rng: random.Random, system: str | None) -> OtherPrompt:
    """JSON that is asked for in words, by keys or by a schema."""
    keys = rng.choice(OBJECTS)
    named = " and ".join(f"'{key}'" for key in keys)
    schema = {"type": "object", "properties": {key: {"type": "string"} for key in keys}}
    how = rng.choice(
        (
            f"Answer as JSON with {named}.",
            f"Return a JSON object with the keys {named} and nothing else.",
            f"Use this JSON schema: {json.dumps(schema)}",
            "Reply in JSON.",
        )
    )
    return OtherPrompt((*_head(rng, system), ("user", f"{question(rng)} {how}")))


def _held(rng: random.Random, system: str | None) -> OtherPrompt:
    """An answer that an engine holds to a schema, or to a tool's, of which the prompt may tell nothing."""
    one = _json(rng, system) if rng.random() < 0.3 else _asked(rng, system)
    key, *_ = rng.choice(OBJECTS)
    opening = f'{{"{key}":{rng.choice(("", " "))}"'
    if rng.random() < 0.25:
        opening = f'[{{"name": "{rng.choice(("save", "look_up", "send"))}", "parameters": {opening}'
    return OtherPrompt(one.turns, opening)
