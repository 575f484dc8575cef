"""A command ends with whoever started its guard, and its exit code is the guard's."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.client.stack import guard
from launch.bench.faults.recovery_kills import is_alive

DEAF = "import signal, sys; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
TELLS = "import os; print(os.getpid(), flush=True); import signal; signal.pause()"


def guarded(code: str, grace_s: float = 20) -> subprocess.Popen[str]:
    command = [sys.executable, "-I", "-S", str(Path(guard.__file__)), str(grace_s)]
    command += [sys.executable, "-S", "-c", code]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


@pytest.mark.parametrize(
    ("code", "expected"),
    [("raise SystemExit(7)", 7), ("import os; os.kill(os.getpid(), 9)", 137), ("", 0)],
)
def test_its_exit_code_is_the_commands(code: str, expected: int) -> None:
    with guarded(code) as made:
        assert made.wait(60) == expected


@pytest.mark.parametrize("how", ["its other side closes", "it is told to end"])
def test_command_is_ended_with_whoever_started_it(how: str) -> None:
    with guarded(TELLS) as made:
        assert made.stdout is not None
        assert made.stdin is not None
        pid = int(made.stdout.readline())
        if how.startswith("its"):
            made.stdin.close()
        else:
            made.send_signal(signal.SIGINT)
        assert made.wait(60) == 128 + signal.SIGTERM
        assert not is_alive(pid)


def test_command_that_hears_nothing_is_killed() -> None:
    with guarded(DEAF + TELLS, grace_s=0.05) as made:
        assert made.stdout is not None
        assert made.stdin is not None
        pid = int(made.stdout.readline())
        made.stdin.close()
        assert made.wait(60) == 128 + signal.SIGKILL
        assert not is_alive(pid)
