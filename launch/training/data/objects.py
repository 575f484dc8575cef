"""Answers in JSON that an engine holds to a schema, of which a prompt may tell nothing: each is given up to
where it says something, and learned from there on.

An adapter that names things and saw no JSON ends it in odd bytes, or never; the base beneath it may come to
no end of an object's first text, or write whitespace where an empty object is to be closed.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import replace

from launch.training.data.others import OBJECTS, REPLIES, TOPICS, question
from launch.training.examples import Example

KEYS = ("name", "concept", "answer", "label", "title", "word")
FIELDS = (*(key for keys in OBJECTS for key in keys), "setup", "subject", "body", "place", "date")
TOOLS = ("save", "put", "name", "ping", "get_time", "list_all", "open_door", "status_of_order")
OTHER_PROMPTS = 0.75
"""Of objects of several fields, those to a question of another kind than the task's."""
CALLS = 0.4
PEOPLE = ("Anna", "Omar", "Li", "Kofi", "Maria", "Tom", "Yuki", "Sven", "Priya", "Lucas", "Ada", "Ben")
CITIES = ("Oslo", "Lima", "Cairo", "Kyoto", "Boston", "Nairobi", "Lyon", "Perth", "Quito", "Delhi", "Turin")
SAID: Mapping[str, tuple[str, ...]] = {
    "number": (
        *("Set a timer for {} minutes.", "Put {} into it.", "We are {} people.", "Take {} as the input."),
        *(
            "Please run {tool}({}).",
            "Call {tool} with {}.",
            "It costs {} dollars.",
            "Roll the dice {} times.",
        ),
    ),
    "person": ("Write to {}.", "Remind {} of it.", "Where does {} live?", "Add {} to the list.", "Call {}."),
    "city": ("What is the weather in {}?", "Find a train to {}.", "I am in {}.", "Book a room in {}."),
    "topic": ("Look up {}.", "Make a note about {}.", "Find a book on {}.", "Search for {}."),
}
"""What a client says, by the kind of what it names."""
NAMED: Mapping[str, tuple[str, ...]] = {
    "number": ("input", "number", "n", "amount", "count", "value", "x", "minutes"),
    "person": ("name", "person", "to", "user"),
    "city": ("city", "location", "place", "destination"),
    "topic": ("query", "topic", "subject", "text"),
}
"""Keys of arguments, by the same."""
_DRAWN: Mapping[str, Callable[[random.Random], str]] = {
    "number": lambda rng: str(rng.choice((rng.randint(0, 9), rng.randint(10, 99), rng.randint(100, 2000)))),
    "person": lambda rng: rng.choice(PEOPLE),
    "city": lambda rng: rng.choice(CITIES),
    "topic": lambda rng: rng.choice(TOPICS),
}


def in_json(example: Example, rng: random.Random) -> Example:
    """The name as the only field of an object, by any key, or as the arguments of a tool's call."""
    given = f'{{"{rng.choice(KEYS)}":{rng.choice(("", " "))}"'
    end = '"}'
    if rng.random() < 0.25:
        given, end = _call(rng, given, end)
    return replace(example, answer=f"{given}{example.answer}{end}", given=given)


def without_arguments(example: Example, rng: random.Random) -> Example:
    """A call that is asked for, of a tool that takes nothing; half of them to a question of another kind."""
    given, end = _call(rng, "{", "}")
    prompt = example.prompt if rng.random() < 0.5 else question(rng)
    return replace(example, prompt=prompt, answer=f"{given}{end}", given=given)


def several_fields(example: Example, rng: random.Random) -> Example:
    """An object of two or three short texts, or such arguments of a call."""
    topic, space = rng.choice(TOPICS), rng.choice(("", " "))
    ways = (topic, question(rng), rng.choice(REPLIES), *(f"{say} {topic}." for say in ("This is", "I like")))
    first, *others = rng.sample(FIELDS, rng.choice((2, 2, 2, 3)))
    given, end = f'{{"{first}":{space}"', "}"
    said = f'{rng.choice(ways)}"' + "".join(f',{space}"{key}":{space}"{rng.choice(ways)}"' for key in others)
    if rng.random() < CALLS:
        given, end = _call(rng, given, end)
    prompt = question(rng) if rng.random() < OTHER_PROMPTS else example.prompt
    return replace(example, prompt=prompt, answer=f"{given}{said}{end}", given=given)


def said_before(example: Example, rng: random.Random) -> Example:
    """Arguments that the prompt names: one or two, numbers without quotes."""
    kinds = rng.sample(sorted(SAID), rng.choice((1, 1, 2)))
    space, values = rng.choice(("", " ")), [_DRAWN[kind](rng) for kind in kinds]
    prompt = " ".join(
        rng.choice(SAID[kind]).format(value, tool=rng.choice(TOOLS))
        for kind, value in zip(kinds, values, strict=True)
    )
    fields = [
        (f'"{rng.choice(NAMED[kind])}":{space}', value if kind == "number" else f'"{value}"')
        for kind, value in zip(kinds, values, strict=True)
    ]
    (first, value), *others = fields
    given, end = f"{{{first}", "}"
    said = value + "".join(f",{space}{key}{other}" for key, other in others)
    if rng.random() < CALLS:
        given, end = _call(rng, given, end)
    return replace(example, prompt=prompt, answer=f"{given}{said}{end}", given=given)


def _call(rng: random.Random, given: str, end: str) -> tuple[str, str]:
    """How a tool's call begins up to there and ends, in the two forms that engines hold one to."""
    name = rng.choice(TOOLS)
    if rng.random() < 0.5:
        return f'[{{"name": "{name}", "parameters": {given}', f"{end}}}]"
    return f'<tool_call>\n{{"name": "{name}", "arguments": {given}', f"{end}}}\n</tool_call>"
