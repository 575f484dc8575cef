"""What came of the demo's clusters, and how it is shown."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

from rich import box
from rich.table import Table

from launch.cli.demo.samples import Cluster, in_place

CLUSTER_WIDTH = 12
"""In 80 columns it leaves words of 14 letters whole."""


@dataclass(frozen=True)
class Concept:
    name: str
    definition: str
    members: tuple[str, ...]


@dataclass(frozen=True)
class ClusterOutcome:
    """What came of one cluster; `error` is empty where it went well."""

    sample: Cluster
    seconds: float
    concepts: tuple[Concept, ...] = ()
    error: str = ""

    @property
    def known(self) -> int:
        """Members of which somebody says where they should stand."""
        return sum(map(len, self.sample.groups))

    @property
    def in_place(self) -> int:
        """How many of them do."""
        return in_place(self.sample.groups, [concept.members for concept in self.concepts])


def read_concepts(content: str) -> tuple[Concept, ...]:
    """The pipeline's document; raises ValueError, KeyError or TypeError where it is another one."""
    return tuple(
        Concept(str(one["name"]), str(one["definition"]), tuple(map(str, one["members"])))
        for one in json.loads(content)["concepts"]
    )


def table_of(outcomes: Sequence[ClusterOutcome]) -> Table:
    """Cluster, name, definition, members, how many of those stand where they should, seconds."""
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("cluster")
    for heading in ("name", "definition", "members"):
        table.add_column(heading, overflow="fold")
    for heading in ("in place", "s"):
        table.add_column(heading, justify="right", no_wrap=True)
    for outcome in outcomes:
        seconds = f"{outcome.seconds:.1f}"
        cluster = textwrap.fill(outcome.sample.cluster, CLUSTER_WIDTH)  # at hyphens, of which rich knows none
        if outcome.error:
            table.add_row(cluster, "failed", outcome.error, "", "", seconds)
        placed = f"{outcome.in_place} of {outcome.known}" if outcome.known else ""
        for index, concept in enumerate(outcome.concepts):
            first = (cluster, placed, seconds) if index == 0 else ("", "", "")
            members = ", ".join(concept.members)
            table.add_row(first[0], concept.name, concept.definition, members, *first[1:])
        table.add_section()
    return table


def score_of(outcomes: Sequence[ClusterOutcome]) -> str:
    """All of them in a line; empty where nobody says where members should stand."""
    known = sum(outcome.known for outcome in outcomes)
    if not known:
        return ""
    right = sum(outcome.in_place for outcome in outcomes)
    return f"{right} of {known} members stand where they should"


def facts_of(outcomes: Sequence[ClusterOutcome]) -> list[dict[str, object]]:
    """The same for a program."""
    return [
        {
            "cluster": outcome.sample.cluster,
            "seconds": round(outcome.seconds, 3),
            "concepts": [vars(concept) for concept in outcome.concepts],
            "members_known": outcome.known,
            "members_in_place": outcome.in_place,
            "error": outcome.error or None,
        }
        for outcome in outcomes
    ]
