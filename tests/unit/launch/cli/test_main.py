"""What the command line says of mistakes."""

from __future__ import annotations

import io
import json
import socket
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest

from gateway.audit import AuditLog
from gateway.config.document import Config
from gateway.config.snapshot import FILE, Snapshot, TaskStatus
from launch.__main__ import with_state_dir
from launch.cli import main as cli
from launch.machine.gateway_address import note_url
from launch.supervisor.lock import sole_launch


def run_cli(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["lora-gateway", *arguments])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    assert isinstance(caught.value.code, int)
    return caught.value.code


def test_missing_config_is_one_line_and_exit_code_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert run_cli(monkeypatch, "up", "--config", str(tmp_path / "none.yaml")) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: --config: ")
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    "arguments",
    [
        ("plan", "--base", "~nosuch/x"),
        ("init", "--base", "~nosuch/x"),
        ("init", "--adapter", "a=~nosuch/x"),
        ("adapters", "add", "a", "~nosuch/x"),
        ("train", "--task", "a", "--base", "~nosuch/x"),
    ],
)
def test_the_home_of_nobody_is_one_line_and_exit_code_2(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    arguments: tuple[str, ...],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run_cli(monkeypatch, *arguments) == 2
    error = capsys.readouterr().err
    assert "~nosuch/x" in error
    assert error.count("\n") == 1


def test_a_state_directory_in_the_home_of_nobody_is_taken_as_a_shell_would(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    changed = with_state_dir(Config.model_validate({"base": {"model": "m"}}), Path("~nosuch/x"))
    assert changed.state_dir == tmp_path / "~nosuch" / "x"


@pytest.mark.parametrize("command", ["logs", "audit", "status"])
def test_a_state_directory_that_is_a_file_is_said_so(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("file").touch()
    with pytest.raises(SystemExit) as ended:
        cli.main([command, "--state-dir", "file"])
    assert (ended.value.code, "is a file" in capsys.readouterr().err) == (2, True)


def test_taken_gateway_port_is_one_line_and_exit_code_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        file = tmp_path / "c.yaml"
        file.write_text(f"base: {{model: m}}\ngateway: {{port: {port}}}\n")
        assert run_cli(monkeypatch, "up", "--config", str(file)) == 2
    assert capsys.readouterr().err.startswith(f"error: gateway.port: {port}: is taken on 127.0.0.1")


def test_status_of_nothing_is_stopped(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file = tmp_path / "c.yaml"
    file.write_text(f"base: {{model: m}}\nstate_dir: {tmp_path}\n")
    assert run_cli(monkeypatch, "status", "--config", str(file), "--json") == 1
    assert json.loads(capsys.readouterr().out)["state"] == "stopped"


def test_what_commands_made_is_told_of_too(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("lora-gateway.yaml").write_text(f"base: {{model: m}}\nstate_dir: {tmp_path}\n")
    made = Snapshot(3, tasks={"mood": TaskStatus(configured=False)}, issued_keys={"team": {}})
    (tmp_path / FILE).write_bytes(msgspec.json.encode(made))
    with sole_launch(tmp_path):
        note_url(tmp_path, "http://127.0.0.1:8123")
        assert run_cli(monkeypatch) == 0
    said = capsys.readouterr().out
    assert "mood" in said
    assert "lora-gateway keys create" in said
    assert "Authorization" in said


def test_a_launch_by_a_configuration_elsewhere_is_found_where_it_was_started(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    with sole_launch(tmp_path / ".state"):
        note_url(tmp_path / ".state", "http://127.0.0.1:8123")
        assert (run_cli(monkeypatch), run_cli(monkeypatch, "status")) == (0, 1)
    said = capsys.readouterr()
    assert "http://127.0.0.1:8123/v1" in said.out
    assert not said.err
    assert run_cli(monkeypatch, "status") == 2  # nothing runs: which configuration is meant must be said


@pytest.mark.parametrize(
    "words",
    [("keys", "hash"), ("run", "n\udcff", "in", "-o", "out"), ("keys", "create", "a", "--task", "\udcff")],
)
def test_what_is_not_utf8_is_one_line_without_more_of_the_text(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, words: Sequence[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("in").write_text("one\n")
    Path("lora-gateway.yaml").write_text(f"base: {{model: m}}\nstate_dir: {tmp_path}\n")
    monkeypatch.setattr(sys, "stdin", io.StringIO("secret\udcff"))
    assert run_cli(monkeypatch, *words) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: arguments, standard input or a file: '\\udcff': is not UTF-8 text")
    assert error.count("\n") == 1


def test_a_terminal_without_unicode_gets_what_it_can_show(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    terminal = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", terminal)
    AuditLog(tmp_path).write("x", "Zoë", 200)
    assert run_cli(monkeypatch, "audit", "--state-dir", str(tmp_path)) == 0
    terminal.flush()
    assert b"Zo\\xeb: x" in terminal.buffer.getvalue()
