"""Whether a name is a misspelling of a known one. Pure."""

from __future__ import annotations

from collections.abc import Iterable

LONGEST = 64
"""Characters; a longer name is no misspelling."""
SHORTEST = 4
"""A shorter one is a slip of half the short names there are."""
LONG = 8
"""From this length on two slips are a misspelling, below it one."""


def plain(name: str) -> str:
    """A name without what tells one way of writing it from another: `stopSequences`, `stop-sequences`."""
    return name.replace("_", "").replace("-", "").lower()


def misspelt(name: str, known: Iterable[str]) -> str | None:
    """The known name that was meant: written in another way (`topP`, `max-tokens`), or one or two slips away.

    A slip is a letter too many, too few or another one, or two letters that changed their places. Narrower
    than `errors.nearest`: what this finds is refused, where others' labels have to be taken.
    """
    if len(name) > LONGEST:
        return None
    wanted = plain(name)
    slips = (len(name) >= SHORTEST) + (len(name) >= LONG)
    found: tuple[int, str] | None = None
    for one in known:
        if plain(one) == wanted:
            return one
        # Most need no distance: one unknown name is compared with all of a route's, 10 to 280 us (design 38).
        if abs(len(one) - len(name)) > slips or (name[0] != one[0] and name[-1] != one[-1]):
            continue
        distance = _distance(name, one)
        if distance <= slips and (found is None or distance < found[0]):
            found = distance, one
    return found[1] if found else None


def _distance(one: str, other: str) -> int:
    """Slips between two words (optimal string alignment)."""
    before: list[int] = []
    row = list(range(len(other) + 1))
    for i, letter in enumerate(one, 1):
        before, above, row = row, before, [i]
        for j, wanted in enumerate(other, 1):
            cost = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (letter != wanted))
            if i > 1 and j > 1 and letter == other[j - 2] and one[i - 2] == wanted:
                cost = min(cost, above[j - 2] + 1)
            row.append(cost)
    return row[-1]
