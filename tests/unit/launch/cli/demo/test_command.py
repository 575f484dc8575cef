"""The demo's closing words."""

from __future__ import annotations

from pathlib import Path

from gateway.config.document import Config
from launch.cli.demo.command import _state_dir, snippets
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


def test_its_state_is_its_owners_alone(tmp_path: Path) -> None:
    folder = _state_dir(Config.model_validate({"base": {"model": "m"}, "state_dir": str(tmp_path / "state")}))
    assert folder.parent == tmp_path / "state"
    assert [one.stat().st_mode & 0o777 for one in (folder.parent, folder)] == [0o700, 0o700]
