"""One child in a process group of its own, its output passed through and its last lines kept."""

from __future__ import annotations

import collections
import contextlib
import errno
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TextIO

from gateway.config.process import stat_fields
from launch.machine import group_guard

KEPT_LINES = 200
PR_SET_PDEATHSIG = 1  # linux/prctl.h
BEGINNING = f"""
import ctypes, os, signal, sys
parent, number = map(int, sys.argv[1:3])
ctypes.CDLL(None).prctl({PR_SET_PDEATHSIG}, number, 0, 0, 0)
if os.getppid() != parent:  # it died in between
    sys.exit(1)
for ignored in (signal.SIGPIPE, signal.SIGXFSZ):  # by Python, and by whatever it becomes
    signal.signal(ignored, signal.SIG_DFL)
os.execvp(sys.argv[3], sys.argv[3:])
"""
"""What a child is before it is its program. A hook of ours between fork and exec would have Python run the
hooks of libraries there as well: huggingface_hub's takes locks of its connections, and where another thread
had one at the fork, child and parent would wait for ever (design 19)."""
POLL_S = 0.05
AFTER_KILL_S = 10.0
TRACKER = b"multiprocessing.resource_tracker"
TRACKER_S = 2.0
"""Python's resource tracker needs milliseconds once the others have ended."""
WATCHER_GRACE_S = 10.0

Shown = Callable[[str], bool]
"""Whether a line of a program's output is passed on."""


def every_line(line: str) -> bool:
    return True


class Child:
    """A running program and all that it starts.

    Start it from the main thread: the kernel's parent-death signal is tied to the thread that forked.
    Of its output those lines are passed on that `shown` says; it and `on_line` are called in a thread.
    Raises OSError where it cannot be started, or not be watched; then it does not run.
    """

    def __init__(
        self,
        argv: Sequence[str],
        env: Mapping[str, str],
        *,
        prefix: str = "",
        on_line: Callable[[str], None] = lambda _line: None,
        shown: Shown = every_line,
        out: TextIO | None = None,
    ) -> None:
        self.last_lines: collections.deque[str] = collections.deque(maxlen=KEPT_LINES)
        self._prefix = prefix
        self._on_line = on_line
        self._shown = shown
        self._out = out
        self._emptied = False
        self._popen = subprocess.Popen(
            ending_with_us(argv, env),
            env=dict(env),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # a group of its own: Ctrl-C reaches us alone, and we stop it in order
        )
        self.pid = self._popen.pid
        try:
            self._watcher = self._watched()
            self._reader = threading.Thread(target=self._pass_through, name=f"log of {self.pid}", daemon=True)
            self._reader.start()
        except BaseException:  # nobody would look after it
            os.killpg(self.pid, signal.SIGKILL)
            self._popen.wait()
            if self._popen.stdout is not None:
                self._popen.stdout.close()
            raise

    def _watched(self) -> subprocess.Popen[bytes]:
        """For the case that we are killed and the child does not heed the kernel's signal."""
        try:
            ticks = stat_fields(self.pid)[19]  # it is not reaped, so the number is still its own
        except OSError:  # no Linux
            ticks = "0"
        return subprocess.Popen(
            [
                sys.executable,
                "-I",  # nothing of the environment, or of its packages, has a say in it
                "-S",
                str(Path(group_guard.__file__)),
                str(self.pid),
                str(WATCHER_GRACE_S),
                ticks,
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # else the Ctrl-C that ends us would end it first
        )

    def exit_code(self) -> int | None:
        """None while it runs; negative where a signal ended it."""
        self._watcher.poll()  # what was started as such has left its parent, and is reaped here
        return self._popen.poll()

    def signal(self, number: int) -> None:
        """To the child alone, which passes on what its own children need."""
        if self.exit_code() is None:
            self._popen.send_signal(number)

    def stop(self, timeout_s: float, hurry: Callable[[], bool] = lambda: False) -> None:
        """SIGTERM, then SIGKILL to the group after `timeout_s` or once `hurry()`; returns when empty."""
        if self._emptied:  # the kernel may have given the group's number to another since
            return
        self.signal(signal.SIGTERM)
        end = time.monotonic() + timeout_s
        while self.exit_code() is None and time.monotonic() < end and not hurry():
            time.sleep(POLL_S)
        self._popen.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):  # reaped, so that it is no member any more
            self._popen.wait(timeout=2)
        kill_group(self.pid)  # what it started may live on
        self._emptied = True
        self._reader.join(timeout=2)  # what has left the group may hold the pipe for as long as it likes
        self._all_is_well()

    def _all_is_well(self) -> None:
        """Let the watcher go."""
        pipe = self._watcher.stdin
        assert pipe is not None
        with contextlib.suppress(BrokenPipeError, ValueError), pipe:  # ValueError: it was let go before
            pipe.write(b".")
        self._watcher.wait()

    def _pass_through(self) -> None:
        assert self._popen.stdout is not None
        with self._popen.stdout as lines:
            for raw in lines:
                line = raw.decode("utf-8", "replace").rstrip()
                self.last_lines.append(line)
                if self._shown(line):
                    with contextlib.suppress(OSError):  # go on reading, or the child would block
                        print(f"{self._prefix}{line}", file=self._out or sys.stderr, flush=True)
                self._on_line(line)


def kill_group(group: int) -> None:
    """SIGKILL to a process group until nothing of it runs, or for ten seconds; blocking.

    Python's resource tracker comes last: once the others have ended it frees the shared memory that they
    left, of which vLLM has some for each engine, and ends by itself.
    """
    end = time.monotonic() + AFTER_KILL_S
    trackers_end = end
    with contextlib.suppress(ProcessLookupError):
        while time.monotonic() < end:
            found = members(group)
            if found == []:  # a zombie keeps the group, and may never be reaped
                return
            others = [pid for pid in found or () if not _is_tracker(pid)]
            for pid in others:
                with contextlib.suppress(OSError):  # it has ended since
                    os.kill(pid, signal.SIGKILL)
            if others:
                trackers_end = time.monotonic() + TRACKER_S
            if found is None or time.monotonic() > trackers_end:
                with contextlib.suppress(PermissionError):
                    os.killpg(group, signal.SIGKILL)
            time.sleep(POLL_S)


def _is_tracker(pid: int) -> bool:
    try:
        return TRACKER in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


def members(group: int) -> list[int] | None:
    """Those of a process group that run; None where that cannot be seen."""
    pids = [int(folder.name) for folder in Path("/proc").glob("[0-9]*")]
    found: list[int] = []
    for pid in pids:
        with contextlib.suppress(OSError):  # it has ended since
            fields = stat_fields(pid)
            if int(fields[2]) == group and fields[0] not in "ZX":
                found.append(pid)
    return found if pids else None


def ending_with_us(argv: Sequence[str], env: Mapping[str, str], number: int = signal.SIGTERM) -> list[str]:
    """A command that becomes `argv`, and gets that signal when we die, however we die; on Linux alone."""
    if not sys.platform.startswith("linux"):
        return list(argv)
    # The other Python would find it out too late for us to raise it.
    if shutil.which(argv[0], path=env.get("PATH")) is None:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), argv[0])
    return [sys.executable, "-I", "-S", "-c", BEGINNING, f"{os.getpid()}", f"{number:d}", *argv]
