"""When a process started; whether its terminal is there still; what SIGHUP asks of it; its streams."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.config.process import HangUp, machine_id, started_ticks, stat_fields


def test_a_process_has_one_and_a_child_a_later_one() -> None:
    own = started_ticks(os.getpid())
    assert own is not None
    assert started_ticks(os.getpid()) == own
    with subprocess.Popen([sys.executable, "-S", "-c", "input()"], stdin=subprocess.PIPE) as child:
        childs = started_ticks(child.pid)
        assert childs is not None
        assert childs >= own
        child.kill()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert started_ticks(child.pid) is None  # a zombie
    assert started_ticks(2**22 + 1) is None


NAMED = """
import ctypes, sys
ctypes.CDLL(None).prctl(15, b"a) b (caf\\xc3", 0, 0, 0)  # PR_SET_NAME
print(flush=True)
sys.stdin.read()
"""


def test_a_process_is_read_whatever_its_name_holds() -> None:
    """A name that is set is cut after 15 bytes, in the midst of a character too."""
    with subprocess.Popen(
        [sys.executable, "-S", "-c", NAMED],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
    ) as child:
        assert child.stdout is not None
        child.stdout.readline()
        assert started_ticks(child.pid) is not None
        assert stat_fields(child.pid)[1:3] == [str(os.getpid()), str(child.pid)]  # its parent and group


def test_a_machine_is_the_same_for_a_child() -> None:
    program = "from gateway.config.process import machine_id; print(machine_id())"
    assert machine_id()
    assert subprocess.check_output([sys.executable, "-c", program], text=True).strip() == machine_id()


CHILD = """
import fcntl, signal, sys, termios
from gateway.config.process import has_terminal
signal.signal(signal.SIGHUP, signal.SIG_IGN)
fcntl.ioctl(int(sys.argv[1]), termios.TIOCSCTTY, 0)
print(has_terminal(), flush=True)
sys.stdin.read()
print(has_terminal(), flush=True)
"""


def test_terminal_that_is_closed_is_none() -> None:
    ours, theirs = os.openpty()
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(theirs)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        pass_fds=(theirs,),
        start_new_session=True,
        text=True,
    )
    os.close(theirs)
    assert child.stdout is not None
    assert child.stdout.readline() == "True\n"
    os.close(ours)
    assert child.communicate(timeout=30)[0] == "False\n"


@pytest.fixture
def _handler() -> Iterator[None]:
    before = signal.getsignal(signal.SIGHUP)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.mark.usefixtures("_handler")
@pytest.mark.parametrize(
    ("terminal", "still", "nohup", "wish"),
    [
        (False, False, False, "reload"),
        (True, True, False, "reload"),
        (True, False, False, "end"),
        (True, False, True, "reload"),
    ],
)
def test_what_it_means_hangs_on_the_terminal(terminal: bool, still: bool, nohup: bool, wish: str) -> None:
    there = terminal
    signal.signal(signal.SIGHUP, signal.SIG_IGN if nohup else signal.SIG_DFL)
    hang_up = HangUp(lambda: there)
    there = still
    assert hang_up.wish() == ""
    signal.raise_signal(signal.SIGHUP)
    signal.raise_signal(signal.SIGHUP)
    assert (hang_up.wish(), hang_up.wish()) == (wish, "")


CLOSED = """
import os, sys
from gateway.config.process import open_streams
open_streams()
print(sys.stdin.read(), file=sys.stderr)
print("nobody reads this", flush=True)
with open(sys.argv[1], "w") as file:
    print(*(os.readlink(f"/proc/self/fd/{number}") for number in range(4)), file=file)
"""


def test_streams_that_were_closed_lead_nowhere(tmp_path: Path) -> None:
    told = tmp_path / "told"
    command = [sys.executable, "-c", CLOSED, str(told)]
    subprocess.run(["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", *command], check=True)
    assert told.read_text().split() == [*[os.devnull] * 3, str(told)]
