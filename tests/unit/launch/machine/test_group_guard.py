"""A process group ends when whoever started it is gone: asked first, then killed."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

from gateway.config.process import stat_fields
from launch.machine import group_guard
from launch.machine.group_guard import end_group

PAUSES = "import signal; print('up', flush=True); signal.pause()"
DEAF = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {PAUSES}"


def group(code: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-S", "-c", code]
    made = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)
    assert made.stdout is not None
    made.stdout.readline()
    return made


def began(pid: int) -> str:
    return stat_fields(pid)[19]


def guard(of: int, grace_s: float) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-I", "-S", str(Path(group_guard.__file__)), str(of), str(grace_s), began(of)]
    return subprocess.Popen(command, stdin=subprocess.PIPE)


def test_group_is_asked_to_end_and_one_that_is_deaf_is_killed() -> None:
    for code, grace_s, ended in ((PAUSES, 30.0, signal.SIGTERM), (DEAF, 0.05, signal.SIGKILL)):
        with group(code) as made, guard(made.pid, grace_s) as watching:
            assert watching.stdin is not None
            watching.stdin.close()
            assert watching.wait(60) == 0  # it has left, and is nobody's child
            assert made.wait(60) == -ended


def test_byte_before_the_end_says_that_all_is_well() -> None:
    with group(PAUSES) as made, guard(made.pid, 0.0) as watching:
        assert watching.stdin is not None
        watching.stdin.write(b".")
        watching.stdin.close()
        assert watching.wait(60) == 0
        assert made.poll() is None
        made.kill()


def test_group_that_is_gone_is_no_fault() -> None:
    with group(PAUSES) as made:
        made.kill()
    end_group(made.pid, 10.0, 1)


def test_a_number_that_another_process_has_by_now_is_left_alone() -> None:
    """Whoever started the group had seen its end, and was killed before it could say so."""
    with group(PAUSES) as made:
        end_group(made.pid, 0.0, int(began(made.pid)) - 1)
        assert made.poll() is None
        end_group(made.pid, 2.0, int(began(made.pid)))  # nobody reaps it meanwhile
        assert made.wait(60) == -signal.SIGTERM
