"""One child: its output, its exit, and that nothing of it is left."""

from __future__ import annotations

import ctypes
import io
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.config.process import stat_fields
from launch.machine import group_guard
from launch.machine.child import KEPT_LINES, Child
from tests.support.process_ends import wait_for_end, watched
from tests.support.waiting import until

ROOT = Path(__file__).parents[4]
PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h


class Heard:
    """Collects a child's lines; `wait_for` blocks until one has come."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self._came = threading.Condition()

    def __call__(self, line: str) -> None:
        with self._came:
            self.lines.append(line)
            self._came.notify_all()

    def wait_for(self, beginning: str) -> str:
        with self._came:
            assert self._came.wait_for(lambda: any(one.startswith(beginning) for one in self.lines), 20)
        return next(one for one in self.lines if one.startswith(beginning))


def python(code: str) -> list[str]:
    return [sys.executable, "-u", "-c", textwrap.dedent(code)]


def gone(pid: int) -> bool:
    """Dead, or a zombie that whoever inherited it has not reaped yet."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def test_output_is_passed_on_with_its_prefix_and_bounded() -> None:
    out, heard = io.StringIO(), Heard()
    code = f"for i in range({KEPT_LINES + 50}): print('line', i)"
    child = Child(python(code), os.environ, prefix="[x] ", on_line=heard, out=out)
    heard.wait_for(f"line {KEPT_LINES + 49}")
    child.stop(20)
    assert out.getvalue().startswith("[x] line 0\n[x] line 1\n")
    assert list(child.last_lines)[-1] == f"line {KEPT_LINES + 49}"
    assert len(child.last_lines) == KEPT_LINES


def test_a_line_that_is_not_shown_is_kept_and_heard() -> None:
    out, heard = io.StringIO(), Heard()
    child = Child(
        python("print('noise'); print('news')"), os.environ, on_line=heard, out=out, shown="news".__eq__
    )
    heard.wait_for("news")
    child.stop(20)
    assert out.getvalue() == "news\n"
    assert list(child.last_lines) == heard.lines == ["noise", "news"]


def test_exit_code_is_the_childs() -> None:
    heard = Heard()
    child = Child(
        python("import sys; print('bye'); sys.exit(3)"), os.environ, on_line=heard, out=io.StringIO()
    )
    heard.wait_for("bye")
    child.stop(20)
    assert child.exit_code() in (3, -signal.SIGTERM)  # SIGTERM may come between its last line and its exit


def test_stop_is_gentle_first() -> None:
    heard = Heard()
    code = """
        import signal, sys
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
        print("up")
        signal.pause()
    """
    child = Child(python(code), os.environ, on_line=heard, out=io.StringIO())
    heard.wait_for("up")
    child.stop(20)
    assert child.exit_code() == 0


def test_stubborn_child_and_its_own_children_are_killed() -> None:
    heard = Heard()
    code = """
        import signal, subprocess, sys
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        inner = subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"])
        print("inner", inner.pid)
        signal.pause()
    """
    child = Child(python(code), os.environ, on_line=heard, out=io.StringIO())
    inner = int(heard.wait_for("inner").split()[1])
    child.stop(60, hurry=lambda: True)
    assert child.exit_code() == -signal.SIGKILL
    assert gone(inner)


def dead_leader() -> tuple[Child, int]:
    """Its own child, by its id, goes on without it."""
    heard = Heard()
    code = """
        import subprocess, sys
        print("inner", subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"]).pid)
    """
    child = Child(python(code), os.environ, on_line=heard, out=io.StringIO())
    return child, int(heard.wait_for("inner").split()[1])


def test_orphans_of_a_dead_leader_are_killed() -> None:
    child, inner = dead_leader()
    child.stop(20)
    assert gone(inner)


@pytest.fixture
def reaps_nothing() -> Iterator[None]:
    """Orphans come to this process, which leaves them zombies, as the first process of a container may."""
    prctl = ctypes.CDLL(None).prctl
    prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    yield
    prctl(PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)


@pytest.mark.parametrize("grace_s", [0, 20])
def test_shared_memory_of_what_is_killed_is_freed(grace_s: float) -> None:
    code = """
        import multiprocessing, signal
        from multiprocessing.shared_memory import SharedMemory

        def holds():
            print("holds", SharedMemory(create=True, size=8).name)
            signal.pause()

        if __name__ == "__main__":
            SharedMemory(create=True, size=8)  # begins the tracker, which the other process has as well
            multiprocessing.get_context("fork").Process(target=holds).start()
            signal.pause()
    """
    heard = Heard()
    child = Child(python(code), os.environ, on_line=heard, out=io.StringIO())
    file = Path("/dev/shm", heard.wait_for("holds").split()[1])
    assert file.exists()
    child.stop(grace_s)
    assert not file.exists()


@pytest.mark.usefixtures("reaps_nothing")
def test_zombie_that_nobody_reaps_is_not_waited_for() -> None:
    child, inner = dead_leader()
    began = time.monotonic()
    child.stop(20)
    assert time.monotonic() - began < 5
    assert gone(inner)
    os.waitpid(inner, 0)


def test_deaf_child_is_ended_by_the_watcher() -> None:
    heard = Heard()
    code = """
        import signal
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        print("up")
        signal.pause()
    """
    child = Child(python(code), os.environ, on_line=heard, out=io.StringIO())
    heard.wait_for("up")
    group_guard.end_group(child.pid, 0, int(stat_fields(child.pid)[19]))
    child.stop(20)
    assert child.exit_code() == -signal.SIGKILL


def test_what_libraries_do_at_a_fork_is_not_done_for_a_child() -> None:
    """huggingface_hub closes its connections then, and waits for ever for one that a thread had in use."""
    code = """
        import os, sys
        from launch.machine.child import Child
        os.register_at_fork(after_in_child=lambda: os._exit(9))
        child = Child([sys.executable, "-c", "print('up')"], os.environ, on_line=print)
        child._popen.wait()
        child.stop(5)
    """
    done = subprocess.run(python(code), capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout == "up\n"


def test_a_childs_program_finds_signals_as_if_it_were_started_by_itself() -> None:
    heard = Heard()
    child = Child(["sh", "-c", "grep SigIgn /proc/self/status"], os.environ, on_line=heard, out=io.StringIO())
    ignored = int(heard.wait_for("SigIgn").split()[1], 16)
    assert not any(ignored >> number - 1 & 1 for number in (signal.SIGPIPE, signal.SIGXFSZ))
    child.stop(20)


def test_child_dies_with_a_parent_that_is_killed() -> None:
    code = """
        import os, sys, signal
        from launch.machine.child import Child
        child = Child([sys.executable, "-c", "import signal; signal.pause()"], os.environ)
        print(child.pid, flush=True)
        signal.pause()
    """
    parent = subprocess.Popen(python(code), stdout=subprocess.PIPE, text=True, cwd=ROOT)
    assert parent.stdout is not None
    with parent.stdout, watched([int(parent.stdout.readline())]) as ends:
        parent.kill()
        parent.wait()
        wait_for_end(ends, 20)


def test_what_a_child_started_ends_though_child_and_parent_are_killed_together() -> None:
    """As Ray does with an actor and its own children: it leaves what these have started."""
    code = """
        import os, signal, sys
        from launch.machine.child import Child
        pauses = "import signal; signal.pause()"
        starts = f"import subprocess, sys; print(subprocess.Popen([sys.executable, '-c', '{pauses}']).pid)"
        tell = lambda line: print(line, flush=True)
        child = Child([sys.executable, "-uc", f"{starts}; {pauses}"], os.environ, on_line=tell)
        signal.pause()
    """
    parent = subprocess.Popen(python(code), stdout=subprocess.PIPE, text=True, cwd=ROOT)
    assert parent.stdout is not None
    with parent.stdout:
        grandchild = int(parent.stdout.readline())
        children = Path(f"/proc/{parent.pid}/task/{parent.pid}/children")

        def running() -> list[int]:
            return [pid for pid in map(int, children.read_text().split()) if not gone(pid)]

        with watched([grandchild]) as ends:
            until(lambda: len(running()) == 1)  # the watcher has left
            (child,) = running()
            os.kill(child, signal.SIGKILL)
            parent.kill()
            parent.wait()
            wait_for_end(ends, 20)
