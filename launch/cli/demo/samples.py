"""The demo's sample clusters, and which of their members belong together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import msgspec

from gateway.errors import NOT_JSON, ConfigError

EXPECTED = ".expected.jsonl"
"""In place of the clusters' own ending: the file beside them that says what belongs together, if any does."""

Group = Sequence[str]


class ClusterLine(msgspec.Struct):
    """A line of the clusters."""

    id: str | int
    terms: list[object]


class GroupsLine(msgspec.Struct):
    """A line of the file beside them."""

    id: str | int
    groups: list[list[str]]


Line = TypeVar("Line", ClusterLine, GroupsLine)


@dataclass(frozen=True)
class Cluster:
    """One cluster; `groups` is empty where nobody says what belongs together."""

    cluster: str
    terms: list[object]
    groups: Sequence[Group] = ()

    @property
    def words(self) -> list[object]:
        """The terms without what explains them."""
        return [one["term"] if isinstance(one, Mapping) else one for one in self.terms]


def read_samples(path: Path) -> list[Cluster]:
    """The clusters with the groups that are known. Raises ConfigError."""
    beside = path.with_suffix(EXPECTED)
    lines = _read(beside, GroupsLine, '{"id": …, "groups": [[…], …]}') if beside.is_file() else []
    groups = {str(line.id): line.groups for line in lines}
    clusters = _read(path, ClusterLine, '{"id": …, "terms": […]}')
    if not clusters:
        raise ConfigError("--clusters", str(path), "holds no cluster")
    return [Cluster(str(line.id), line.terms, groups.get(str(line.id), ())) for line in clusters]


def in_place(expected: Sequence[Group], given: Sequence[Group]) -> int:
    """How many members stand where they should.

    Each expected group is held against the one concept that has most of its members, no concept against two
    groups, and the largest agreement is taken first. Who stands in several concepts counts once at most.
    """
    wanted, found = [set(group) for group in expected], [set(group) for group in given]
    agreements = [
        (len(group & concept), -one, -other)
        for one, group in enumerate(wanted)
        for other, concept in enumerate(found)
    ]
    count, groups, concepts = 0, set[int](), set[int]()
    for agreed, one, other in sorted(agreements, reverse=True):
        if one not in groups and other not in concepts:
            count += agreed
            groups.add(one)
            concepts.add(other)
    return count


def _read(path: Path, kind: type[Line], form: str) -> list[Line]:
    """One a line; blank ones are left out. Raises ConfigError."""
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except OSError as error:
        raise ConfigError("--clusters", str(path), f"cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError("--clusters", str(path), "is not UTF-8 text") from error
    read: list[Line] = []
    for number, line in enumerate(lines, 1):
        if line.strip():
            try:
                read.append(msgspec.json.decode(line, type=kind))
            except NOT_JSON as error:
                raise ConfigError("--clusters", f"{path}:{number}", f"write {form}") from error
    return read
