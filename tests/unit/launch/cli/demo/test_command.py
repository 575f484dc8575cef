"""The demo's closing words."""

from __future__ import annotations

from launch.cli.demo.command import snippets
from launch.cli.demo.samples import Cluster

SAMPLE = Cluster("a", ["baker's dozen", {"term": "loaf", "gloss": "of bread"}])


def test_snippets_hold_the_address_and_quote_the_shell() -> None:
    text = snippets("http://127.0.0.1:8080", SAMPLE)
    assert "http://127.0.0.1:8080/v1/chat/completions" in text
    assert "baker'\\''s dozen" in text
    assert "of bread" not in text
    assert 'model="naming"' in text
    assert "make serve" in text


def test_a_stack_that_stays_needs_no_other() -> None:
    assert "make serve" not in snippets("http://127.0.0.1:8080", SAMPLE, stays=True)
