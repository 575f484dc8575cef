"""What the demo shows of its clusters."""

from __future__ import annotations

import io
import re

from rich.console import Console

from launch.cli.demo.outcome import ClusterOutcome, Concept, facts_of, read_concepts, score_of, table_of
from launch.cli.demo.samples import Cluster

MEMBERS = ("electrician", "carpenter", "plumber")
FRUIT = '{"concepts":[{"name":"fruit","definition":"eaten","members":["a","pear"]}]}'
OUTCOMES = [
    ClusterOutcome(Cluster("one", ["a", "pear", "b"], [["a", "pear"], ["b"]]), 1.25, read_concepts(FRUIT)),
    ClusterOutcome(Cluster("two", ["c"], [["c"]]), 2, error="503: not yet"),
]


def test_a_document_is_read_as_concepts() -> None:
    assert read_concepts(FRUIT) == (Concept("fruit", "eaten", ("a", "pear")),)


def test_table_shows_names_failures_and_what_stands_in_place() -> None:
    out = io.StringIO()
    Console(file=out, width=120).print(table_of(OUTCOMES))
    for text in ("fruit", "a, pear", "2 of 3", "1.2", "failed", "503: not yet"):
        assert text in out.getvalue()


def test_table_tears_no_word_in_80_columns() -> None:
    sample = Cluster("kitchen-garden-and-clinic", ["electrician"], [["electrician"]])
    said = Concept("meteorological phenomenon", "A meteorological instrument of an electrician.", MEMBERS)
    out = io.StringIO()
    Console(file=out, width=80).print(table_of([ClusterOutcome(sample, 10.25, (said,))]))
    lines = out.getvalue().splitlines()
    assert {"kitchen-", "garden-and-", "clinic", *MEMBERS, "meteorological"} <= set(
        re.split(r"[ ,\n]+", out.getvalue())
    )
    assert max(map(len, lines)) <= 80


def test_the_score_counts_what_failed_as_not_in_place() -> None:
    assert score_of(OUTCOMES) == "2 of 4 members stand where they should"


def test_without_groups_nothing_is_said_of_them() -> None:
    assert score_of([ClusterOutcome(Cluster("one", ["a"]), 1.0)]) == ""


def test_facts_for_a_program() -> None:
    first, second = facts_of(OUTCOMES)
    assert first["members_in_place"] == 2
    assert first["members_known"] == 3
    assert first["concepts"] == [{"name": "fruit", "definition": "eaten", "members": ("a", "pear")}]
    assert second["error"] == "503: not yet"
