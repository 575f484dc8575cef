"""Which modules a pattern of adapter_config.json means, in time that is bounded beforehand.

peft's patterns are regular expressions, and the engine runs those of rank_pattern and alpha_pattern too. One
that a backtracking matcher can be lost in would hang this program, then the engine. So a pattern is read
first: without repeated groups, references and look-around, the ways to match it can be counted, and are.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from launch.machine.files import Unfit, shorten

MAX_PATTERN_CHARS = 8192
MAX_STEPS = 50_000_000
"""Of the matcher, for all patterns and modules of one adapter: seconds at most."""

# One token of a pattern whose cost can be counted; whatever does not consist of these is refused.
TOKEN = re.compile(
    r"""
      (?P<open>\((?:\?:)?)
    | (?P<close>\)(?P<again>[*+{]|\?)?)
    | (?P<either>\|)
    | (?:\[\^?(?:[^\[\]\\]|\\[dw.-])+\] | \\[bBdw.\-_/] | [A-Za-z0-9_./-])
      (?P<many>[*+]\??|\{[0-9,]*\}\??|\?)?
    | (?P<edge>[\^$])
    """,
    re.VERBOSE,
)
PLAIN = re.compile(r"[A-Za-z0-9_.-]+")


def ways(pattern: str, longest: int) -> int | None:
    """How many ways a matcher may try on a name of `longest` characters; None where that has no bound."""
    if PLAIN.fullmatch(pattern):
        return 1
    place, count, depth = 0, 1, 0
    branches = [1]
    while place < len(pattern):
        token = TOKEN.match(pattern, place)
        if token is None or (token["again"] or "?") != "?":
            return None
        place = token.end()
        if token["open"]:
            depth += 1
            branches.append(1)
        elif token["close"]:
            if depth == 0:
                return None
            depth -= 1
            count *= branches.pop() + (token["again"] is not None)
        elif token["either"]:
            branches[-1] += 1
        elif token["many"]:
            count *= 2 if token["many"] == "?" else longest + 1
        if count > MAX_STEPS:
            return None
    return count * branches[0] if depth == 0 else None


def compile_suffix(key: str, pattern: str) -> re.Pattern[str]:
    """peft's rule: a pattern counts where it ends the module's name, from a dot on. Raises Unfit."""
    # As vLLM 0.32 has it (PEFTHelper._match_pattern), by `regex` there and by `re` here.
    try:
        return re.compile(rf"(.*\.)?({pattern})$")
    except (re.error, OverflowError, RecursionError) as error:
        raise Unfit(f"has {shorten(pattern)!r} in {key}, which is no pattern: {error}") from error


def ranks_of(pattern: Mapping[str, object], modules: Iterable[str], default: int) -> dict[str, int]:
    """Each module's rank: the first of rank_pattern that matches, else `default`. Raises Unfit."""
    names = set(modules)
    _check_cost("rank_pattern", pattern, names)
    compiled = [
        (compile_suffix("rank_pattern", text), rank)
        for text, rank in pattern.items()
        if isinstance(rank, int)
    ]
    return {module: next((rank for one, rank in compiled if one.match(module)), default) for module in names}


def check_patterns(key: str, patterns: Iterable[str], modules: Iterable[str]) -> None:
    """Whether the engine can match them without being lost. Raises Unfit."""
    listed = list(patterns)
    _check_cost(key, listed, set(modules))
    for pattern in listed:
        compile_suffix(key, pattern)


def meant_by(target: object, modules: Iterable[str]) -> tuple[set[str], list[str]] | None:
    """The modules that target_modules means, and its entries that mean none; None where it cannot be told."""
    names = set(modules)
    if isinstance(target, list) and all(isinstance(entry, str) for entry in target):
        entries = set(target)
        found = {name: entries.intersection(_endings(name)) for name in names}
        used = set[str]().union(*found.values())
        return {name for name, hits in found.items() if hits}, [one for one in target if one not in used]
    if not isinstance(target, str) or target == "all-linear":
        return None
    cost = ways(target, max(map(len, names), default=0))
    if len(target) > MAX_PATTERN_CHARS or cost is None or cost * len(names) > MAX_STEPS:
        return None  # the engine does not read it, so it need not be understood
    try:
        whole = re.compile(target)
    except re.error:
        return None
    hits = {name for name in names if whole.fullmatch(name)}
    return hits, [] if hits else [target]


def _endings(name: str) -> list[str]:
    """The name, and what is left of it after each dot."""
    parts = name.split(".")
    return [".".join(parts[index:]) for index in range(len(parts))]


def _check_cost(key: str, patterns: Iterable[str], modules: set[str]) -> None:
    longest = max(map(len, modules), default=0)
    starts = 1 + max(
        (name.count(".") for name in modules), default=0
    )  # peft lets a pattern begin at each dot
    steps = 0
    for pattern in patterns:
        cost = ways(pattern, longest) if len(pattern) <= MAX_PATTERN_CHARS else None
        if cost is None:
            raise Unfit(f"has {shorten(pattern)!r} in {key}, too free a pattern; write the modules' names")
        steps += cost * starts * len(modules)
        if steps > MAX_STEPS:
            raise Unfit(f"has a {key} that takes too long to match; write fewer and plainer patterns")
