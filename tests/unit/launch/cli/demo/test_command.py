"""The demo's reading and printing."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from gateway.errors import ConfigError
from launch.cli.demo.command import ClusterOutcome, Concept, read_clusters, read_concepts, snippets, table_of


def test_clusters_are_read_line_by_line(tmp_path: Path) -> None:
    file = tmp_path / "c.jsonl"
    file.write_text('{"id": "a", "terms": ["x\u2028x", {"term": "y", "gloss": "z"}]}\r\n\n', encoding="utf-8")
    assert read_clusters(file) == [("a", ["x\u2028x", {"term": "y", "gloss": "z"}])]


@pytest.mark.parametrize(
    ("text", "expected"), [("", "no cluster"), ("{", ":1"), ('{"id": 1}', ":1"), ("[]", ":1")]
)
def test_broken_clusters_are_named(tmp_path: Path, text: str, expected: str) -> None:
    file = tmp_path / "c.jsonl"
    file.write_text(text)
    with pytest.raises(ConfigError, match=expected):
        read_clusters(file)


def test_table_shows_names_and_failures() -> None:
    concepts = read_concepts('{"concepts":[{"name":"fruit","definition":"eaten","members":["a","pear"]}]}')
    assert concepts == (Concept("fruit", "eaten", ("a", "pear")),)
    out = io.StringIO()
    Console(file=out, width=120).print(
        table_of([ClusterOutcome("one", 1.25, concepts), ClusterOutcome("two", 2, error="503: not yet")])
    )
    for text in ("fruit", "a, pear", "1.2", "failed", "503: not yet"):
        assert text in out.getvalue()


def test_snippets_hold_the_address_and_quote_the_shell() -> None:
    text = snippets("http://127.0.0.1:8080", ["baker's dozen", {"term": "loaf"}])
    assert "http://127.0.0.1:8080/v1/chat/completions" in text
    assert "baker'\\''s dozen" in text
    assert 'model="naming"' in text
