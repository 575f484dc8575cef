"""A process as the system tells of it: when it started, whether it has a terminal, what SIGHUP asks of it.

And a program's own: the streams that it begins with, what it says on them, how it ends.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Literal, NoReturn

Wish = Literal["", "reload", "end"]


def started_ticks(pid: int) -> int | None:
    """In clock ticks since boot; None where the process is gone, or a zombie.

    With it a pid names one process for good: the kernel gives a bare pid out again.
    """
    try:
        fields = stat_fields(pid)
    except OSError:
        return None
    # The state is the third field of proc(5)'s, the start the 22nd; two stand before the bracket.
    return None if fields[0] in "ZX" else int(fields[19])


def stat_fields(pid: int) -> list[str]:
    """Those of /proc/<pid>/stat from the process's state on. Raises OSError."""
    # The name before them may hold spaces, brackets and, since it ends after 15 bytes, half a character.
    return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].decode("ascii").split()


def ended_by(code: int) -> str:
    """The signal of a process's negative exit code, by its name where it has one."""
    try:
        return signal.Signals(-code).name
    except ValueError:  # one of the real-time signals between the first and the last
        return f"signal {-code}"


def boot_id() -> str:
    """Of the machine's last start; never the same again. Raises OSError."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def machine_id() -> str:
    """The same for all processes that can look each other up by pid; empty where that cannot be known."""
    try:
        return f"{boot_id()}.{os.stat('/proc/self/ns/pid').st_ino}"
    except OSError:
        return ""


def has_terminal() -> bool:
    """Whether this process belongs to a terminal that is still there; SIGHUP says that one was closed."""
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY))
    except OSError:
        return False
    return True


class HangUp:
    """From its making on SIGHUP is no end by itself; make it in the main thread, before workers are forked.

    Started under nohup, a closed terminal is no end either.
    """

    def __init__(self, has_terminal: Callable[[], bool] = has_terminal) -> None:
        self._asked = False
        self._has_terminal = has_terminal
        ignored = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
        self._terminal = not ignored and has_terminal()
        signal.signal(signal.SIGHUP, self._heard)

    def _heard(self, _number: int, _frame: FrameType | None) -> None:
        self._asked = True

    def wish(self) -> Wish:
        """What was asked for since the last look, once for any number of signals."""
        asked, self._asked = self._asked, False
        return self.meant() if asked else ""

    def meant(self) -> Wish:
        """What a SIGHUP means that has come now."""
        return "end" if self._terminal and not self._has_terminal() else "reload"


def open_streams() -> None:
    """/dev/null for each standard stream that was closed by whoever started the program (`>&-`).

    Libraries take for granted that they are there, and a file or a connection would get the free number, and
    with it all that is said there.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_RDWR), mode))


def say(text: str) -> None:
    """A line on stderr, for the person who started the program."""
    with suppress(OSError):  # whoever read it is gone, or its terminal
        print(text, file=sys.stderr, flush=True)


def leave(_number: int, _frame: FrameType | None) -> NoReturn:
    """Left to its default, SIGTERM would end a process that has stopped cleanly with the signal's code."""
    raise SystemExit(0)


def end(code: int) -> NoReturn:
    """End without what libraries leave for an exit, LiteLLM among them, whose import may go on in its thread.

    What is to be written is written by now, but for what libraries print.
    """
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError):
            stream.flush()
    os._exit(code)
