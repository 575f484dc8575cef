"""Commands that run side by side, and the one log of what they said."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from launch.setup.commands import Commands


@pytest.fixture
def commands(tmp_path: Path) -> Commands:
    (tmp_path / "setup.log").touch()
    return Commands(tmp_path, tmp_path / "setup.log", os.open(tmp_path / "lock", os.O_CREAT))


def sh(program: str) -> list[str]:
    return ["sh", "-c", program]


def nothing() -> None:
    """Nobody looks on."""


def test_commands_run_at_once_and_each_has_its_own_end(commands: Commands) -> None:
    os.mkfifo(commands.root / "between")  # each waits for the other here
    ran = commands.run([sh("cat between; exit 3"), sh("echo met > between; echo said")], nothing)
    assert [(one.code, one.said) for one in ran] == [(3, "met"), (0, "said")]


def test_log_has_each_ones_output_whole_behind_its_command(commands: Commands) -> None:
    os.mkfifo(commands.root / "between")
    commands.run([sh("echo a; cat between; echo b >&2"), sh("echo met > between; echo c")], nothing)
    commands.run([sh("echo d")], nothing)
    log = commands.log.read_text().splitlines()
    assert log == [
        "$ sh -c echo a; cat between; echo b >&2",
        "a",
        "met",
        "b",
        "$ sh -c echo met > between; echo c",
        "c",
        "$ sh -c echo d",
        "d",
    ]


def test_an_interruption_ends_all_and_keeps_what_they_said(commands: Commands) -> None:
    os.mkfifo(commands.root / "never")
    pids = commands.root / "pids"
    waits = sh("echo here; echo $$ >> pids; exec cat never")

    def interrupt() -> None:
        if pids.exists() and len(pids.read_text().splitlines()) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        commands.run([waits, waits], interrupt)
    for pid in pids.read_text().split():
        with pytest.raises(ProcessLookupError):
            os.kill(int(pid), 0)
    assert commands.log.read_text().count("here\n") == 2


def test_a_command_that_is_not_there_leaves_no_other_running(commands: Commands) -> None:
    os.mkfifo(commands.root / "never")
    with pytest.raises(FileNotFoundError):
        commands.run([["cat", "never"], ["no-such-command"]], nothing)
    assert commands.log.read_text() == "$ cat never\n"
