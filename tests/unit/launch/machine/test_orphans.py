"""An engine left behind is ended, and nothing else is."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from gateway.config.process import started_ticks
from launch.machine import orphans

FILE = f"engine-1{orphans.SUFFIX}"


@pytest.fixture
def stray() -> Iterator[subprocess.Popen[bytes]]:
    program = (
        "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); signal.pause()"
    )
    child = subprocess.Popen([sys.executable, "-c", program], start_new_session=True, stdout=subprocess.PIPE)
    assert child.stdout is not None
    child.stdout.readline()
    yield child
    child.kill()
    child.wait()
    child.stdout.close()


def test_orphan_is_ended_though_it_is_deaf(tmp_path: Path, stray: subprocess.Popen[bytes]) -> None:
    orphans.remember(tmp_path, "engine-1", stray.pid)
    assert (tmp_path / FILE).stat().st_mode & 0o777 == 0o600
    assert orphans.end_orphans(tmp_path, 0.2) == [stray.pid]
    assert stray.wait(5) == -9
    assert not (tmp_path / FILE).exists()


def test_other_process_under_the_same_pid_is_left_alone(
    tmp_path: Path, stray: subprocess.Popen[bytes]
) -> None:
    ticks = started_ticks(stray.pid)
    assert ticks is not None
    (tmp_path / FILE).write_text(json.dumps({"pid": stray.pid, "ticks": ticks - 1}))
    assert orphans.end_orphans(tmp_path, 0.2) == []
    assert stray.poll() is None


LEADER = """
import subprocess, sys
core = "import os, setproctitle, signal; setproctitle.setproctitle('VLLM::EngineCore');"
inner = subprocess.Popen([sys.executable, "-c", core + "print(os.getpid(), flush=True); signal.pause()"])
sys.stdin.read()
"""


@pytest.mark.parametrize("marked", [True, False])
def test_what_a_killed_engine_left_is_ended_and_a_strangers_group_is_not(
    tmp_path: Path, marked: bool
) -> None:
    leader = subprocess.Popen(
        [sys.executable, "-c", LEADER],
        start_new_session=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, **orphans.MARKED, orphans.MARK: "1" if marked else "0"},
    )
    with leader:
        assert leader.stdout is not None
        inner = os.pidfd_open(int(leader.stdout.readline()))
        orphans.remember(tmp_path, "engine-1", leader.pid)
        leader.kill()
    try:
        assert orphans.end_orphans(tmp_path, 0.2) == ([leader.pid] if marked else [])
        assert bool(select.select([inner], [], [], 20 if marked else 0)[0]) is marked
    finally:
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(inner, signal.SIGKILL)
        os.close(inner)


@pytest.mark.parametrize("text", ["", "[]", '{"pid": 1}', '{"pid": "x", "ticks": 1}'])
def test_damaged_note_is_no_orphan(tmp_path: Path, text: str) -> None:
    (tmp_path / FILE).write_text(text)
    assert orphans.end_orphans(tmp_path, 0.2) == []
    assert not (tmp_path / FILE).exists()


LOOKS = """
import os, signal, sys
signal.signal(signal.SIGTERM, lambda *_: os._exit(3 if os.path.exists(sys.argv[1]) else 4))  # it comes again
print(flush=True)
signal.pause()
"""


def test_what_is_noted_stays_until_it_has_ended(tmp_path: Path) -> None:
    """A start that is killed meanwhile would leave an engine that nobody knows of."""
    argv = [sys.executable, "-S", "-c", LOOKS, str(tmp_path / FILE)]
    with subprocess.Popen(argv, start_new_session=True, stdout=subprocess.PIPE) as engine:
        assert engine.stdout is not None
        engine.stdout.readline()
        orphans.remember(tmp_path, "engine-1", engine.pid)
        assert orphans.end_orphans(tmp_path, 20) == [engine.pid]
        assert engine.wait(5) == 3
    assert not (tmp_path / FILE).exists()


def test_own_start_is_known_and_a_gone_process_is_not() -> None:
    assert started_ticks(os.getpid())
    assert started_ticks(2**22 + 1) is None
