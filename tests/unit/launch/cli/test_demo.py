"""The demo's reading and printing, and what the command line says of mistakes."""

from __future__ import annotations

import io
import json
import socket
import sys
from pathlib import Path

import pytest
from rich.console import Console

from gateway.errors import ConfigError
from launch.cli import main as cli
from launch.cli.demo import ClusterOutcome, Concept, read_clusters, read_concepts, snippets, table_of


def run_cli(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["lora-gateway", *arguments])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    assert isinstance(caught.value.code, int)
    return caught.value.code


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


def test_missing_config_is_one_line_and_exit_code_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert run_cli(monkeypatch, "up", "--config", str(tmp_path / "none.yaml")) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: --config: ")
    assert error.count("\n") == 1


def test_taken_gateway_port_is_one_line_and_exit_code_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        file = tmp_path / "c.yaml"
        file.write_text(f"base: {{model: m}}\ngateway: {{port: {port}}}\n")
        assert run_cli(monkeypatch, "up", "--config", str(file)) == 2
    assert capsys.readouterr().err.startswith(f"error: gateway.port: {port}: is taken on 127.0.0.1")


def test_check_names_the_missing_base(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file = tmp_path / "c.yaml"
    file.write_text("base: {model: ./none}\n")
    assert run_cli(monkeypatch, "check", "--config", str(file)) == 2
    assert "error: base.model: " in capsys.readouterr().err


def test_status_of_nothing_is_stopped(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file = tmp_path / "c.yaml"
    file.write_text(f"base: {{model: m}}\nstate_dir: {tmp_path}\n")
    assert run_cli(monkeypatch, "status", "--config", str(file), "--json") == 1
    assert json.loads(capsys.readouterr().out)["state"] == "stopped"
