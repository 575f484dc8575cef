"""The stack's two programs: started again where they end unasked, within bounds, and said."""

from __future__ import annotations

import errno
import os
import signal
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from gateway.errors import ConfigError
from launch.machine.gateway_address import note_url, noted_url
from launch.machine.restarts import Restarts
from launch.machine.stack import Program, Stack, check_alone, check_gateway_port, ending_of, unused_port
from launch.supervisor.lock import sole_launch
from tests.fakes.plant import Stop
from tests.support.stack import config_of
from tests.support.waiting import until
from tests.unit.launch.machine.test_child import gone

PAUSES = "import signal; signal.pause()"


def program(code: str, most: int = 3) -> Program:
    return Program("gateway", [sys.executable, "-S", "-c", code], os.environ, Restarts(most, 0.01))


def tended(one: Program, limit_s: float = 20.0) -> int:
    """The exit code that it ends with."""
    codes: list[int | None] = []

    def ended() -> bool:
        codes.append(one.tend())
        return codes[-1] is not None

    until(ended, limit_s)
    assert codes[-1] is not None
    return codes[-1]


def test_killed_program_is_started_again_and_it_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    one = program(PAUSES)
    first = one.pid
    os.kill(first, signal.SIGKILL)
    until(lambda: one.tend() is None and one.pid not in (0, first))
    assert gone(first)
    one.stop(5)
    said = capsys.readouterr().err
    assert said == "up: gateway was ended by SIGKILL; it starts again in 0.0 s (restart 1 of 3)\n"


def test_restarts_are_bounded_and_the_reason_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    assert tended(program("raise SystemExit(5)", most=2)) == 1
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 3
    assert lines[-1] == "up: gateway ended with exit code 5, after 2 restarts in a row; stopping"


def test_what_a_person_must_mend_is_not_tried_again(capsys: pytest.CaptureFixture[str]) -> None:
    assert tended(program("raise SystemExit(2)")) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_what_became_unusable_since_is_tried_until_it_is_mended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The other program goes on meanwhile, as it does by what a reload has refused."""
    monkeypatch.setattr("launch.machine.stack.MENDED_WITHIN_S", 0.0)
    broken = tmp_path / "broken"
    one = program(f"import os, sys\nif os.path.exists({str(broken)!r}): sys.exit(2)\n{PAUSES}")
    broken.touch()
    os.kill(one.pid, signal.SIGKILL)
    said = ""

    def tried_often() -> bool:
        nonlocal said
        assert one.tend() is None
        said += capsys.readouterr().err
        return said.count("mend what it says above; it is tried again") >= 5

    until(tried_often)
    broken.unlink()
    until(lambda: one.tend() is None and bool(one.pid))
    one.stop(5)


def test_program_that_settled_begins_its_count_anew() -> None:
    restarts = Restarts(2, 1.0, settled_s=10)
    for _ in range(5):
        restarts, delay_s = restarts.failed(11, "crash")
        assert (restarts.in_a_row, delay_s) == (1, 1.0)
    restarts, delay_s = restarts.failed(9, "crash")
    assert (restarts.in_a_row, delay_s) == (2, 2.0)
    assert restarts.failed(9, "crash")[1] is None


def test_what_a_killed_program_left_behind_is_ended_first(tmp_path: Path) -> None:
    file = tmp_path / "pid"
    code = (
        "import os, signal\n"
        "child = os.fork()\n"
        "if not child:\n"
        "    signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        f"    open({str(file)!r}, 'w').write(str(os.getpid()) + '\\n')\n"
        "signal.pause()"
    )
    one = program(code)
    until(lambda: file.exists() and file.read_text().endswith("\n"))
    left = int(file.read_text())
    began = time.monotonic()
    os.kill(one.pid, signal.SIGKILL)
    until(lambda: one.tend() is None and not one.pid)
    assert gone(left)
    assert time.monotonic() - began < 5  # though nobody may reap it
    one.stop(5)


LAUNCH = """
import os, signal, sys
count = 0
def came(*_):
    global count
    count += 1
    open(sys.argv[1] + str(count), "w").close()
signal.signal(signal.SIGTERM, came)
open(sys.argv[1] + "0", "w").close()
while count < 2:
    signal.pause()
"""


def test_second_interrupt_hurries_a_launch_that_stops(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though the gateway has ended before it came."""
    told = str(tmp_path / "told-")
    launch = Program("launch", [sys.executable, "-S", "-c", LAUNCH, told], os.environ)
    programs = iter([launch, SimpleNamespace(stop=lambda *_: None)])
    monkeypatch.setattr("launch.machine.stack.Program", lambda *_, **__: next(programs))
    stack = Stack(tmp_path / "c.yaml", config_of(tmp_path), port=8124, state_dir=tmp_path)
    until(lambda: (tmp_path / "told-0").exists())

    class Interrupted(Stop):
        def hurried(self) -> bool:
            return (tmp_path / "told-1").exists()

    began = time.monotonic()
    stack.stop(Interrupted())  # type: ignore[arg-type]  # the same methods, without signals
    assert (tmp_path / "told-2").exists()
    assert time.monotonic() - began < 10


def test_program_that_cannot_be_started_is_tried_again(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    one = Program("launch", ["/nowhere/at-all"], os.environ)
    assert (one.pid, one.tend()) == (0, None)
    assert "launch cannot be started" in capsys.readouterr().err
    one.stop(1)


def test_endings_in_words() -> None:
    assert ending_of(-15) == "was ended by SIGTERM"
    assert ending_of(-40) == "was ended by signal 40"
    assert ending_of(0) == "ended with exit code 0"


def test_unused_port_can_be_taken() -> None:
    assert unused_port("127.0.0.1") > 0
    assert unused_port("::1") > 0


@pytest.mark.parametrize(
    ("host", "number", "said"),
    [
        ("127.0.0.1", errno.EADDRINUSE, r"gateway\.port: 8080: is taken on 127\.0\.0\.1"),
        ("127.0.0.1", errno.EACCES, r"gateway\.port: 8080: cannot be listened on \(Permission denied\)"),
        ("192.0.2.1", None, r"gateway\.host: 192\.0\.2\.1: cannot be listened on \(Cannot assign"),
    ],
)
def test_a_port_that_cannot_be_had_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, host: str, number: int | None, said: str
) -> None:
    if number is not None:
        fault = OSError(number, os.strerror(number))
        monkeypatch.setattr("launch.machine.stack.bind_fault", lambda *_: fault)
    config = config_of(tmp_path)
    config = config.model_copy(
        update={"gateway": config.gateway.model_copy(update={"host": host, "port": 8080})}
    )
    with pytest.raises(ConfigError, match=said):
        check_gateway_port(config)


def test_what_is_served_already_is_not_started_again(tmp_path: Path) -> None:
    check_alone(tmp_path)
    with sole_launch(tmp_path):
        note_url(tmp_path, "http://127.0.0.1:8123")
        with pytest.raises(ConfigError, match=r"served from already, on http://127\.0\.0\.1:8123"):
            check_alone(tmp_path)
    check_alone(tmp_path)


def test_whoever_was_sooner_keeps_its_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both may have looked before either had begun."""
    program = SimpleNamespace(stop=lambda *_: None)
    monkeypatch.setattr("launch.machine.stack.Program", lambda *_, **__: program)
    second = Stack(tmp_path / "c.yaml", config_of(tmp_path), port=8124, state_dir=tmp_path)
    with sole_launch(tmp_path):
        note_url(tmp_path, "http://127.0.0.1:8123")
        second.stop(Stop())  # type: ignore[arg-type]  # the same methods, without signals
        assert noted_url(tmp_path) == "http://127.0.0.1:8123"
    second.stop(Stop())  # type: ignore[arg-type]  # as above
    assert noted_url(tmp_path) is None
