"""What an actor does on its node: a real process, seen, stopped and started again."""

from __future__ import annotations

import os
import signal
import sys
from collections import deque
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.errors import EngineFailure
from launch.engine.on_ray.node_engine import CANNOT_START, EngineOrder, NodeEngine, ProcessStatus, scratch_of
from tests.support.waiting import until

PROGRAM = """
import os, signal, sys
print(" ".join(sys.argv[1:]), flush=True)
names = ("RAY_JOB_ID", "OMP_NUM_THREADS", "RAY_ADDRESS", "OWN")
print(*(name for name in names if name in os.environ), flush=True)
signal.pause()
"""


def order(*argv: str, **changes: str) -> EngineOrder:
    words = ("python", "-c", PROGRAM, "--host", "h", "--port", "1", *argv)
    return EngineOrder("engine-0", words, {"OWN": "1"}, 9200, "10.0.0.1", **changes)


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[NodeEngine]:
    monkeypatch.setenv("RAY_JOB_ID", "1")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    engine = NodeEngine(order(), "127.0.0.1", tmp_path)
    yield engine
    engine.stop(0)


def said(engine: NodeEngine, count: int) -> tuple[str, ...]:
    until(lambda: engine.look(0).said >= count, 20)
    return engine.look(0).lines


def test_it_runs_on_this_nodes_python_and_address_without_what_ray_sets(made: NodeEngine) -> None:
    port = made.look(0).url.removeprefix("http://127.0.0.1:")
    assert said(made, 2) == (f"--host 127.0.0.1 --port {port}", "OWN")
    assert Path(f"/proc/{made.look(0).pid}/cmdline").read_bytes().startswith(sys.executable.encode())


def test_on_the_control_planes_machine_it_listens_on_loopback(tmp_path: Path) -> None:
    engine = NodeEngine(order(), "10.0.0.1", tmp_path)
    try:
        assert engine.look(0).url.startswith("http://127.0.0.1:")
    finally:
        engine.stop(0)


def test_two_that_start_at_once_on_a_node_have_a_port_each(made: NodeEngine, tmp_path: Path) -> None:
    """An engine listens long after its port was chosen; with one port, one is proven as the other."""
    second = NodeEngine(order(), "127.0.0.1", tmp_path / "second")
    try:
        assert second.look(0).url != made.look(0).url
    finally:
        second.stop(0)


def test_a_scratch_is_each_launchs_and_nobody_elses(tmp_path: Path) -> None:
    places = {scratch_of(space, name, tmp_path) for space in ("a", "b") for name in ("engine-0", "engine-1")}
    assert len(places) == 4
    (own,) = tmp_path.iterdir()
    assert own.stat().st_mode & 0o777 == 0o700
    own.chmod(0o777)
    with pytest.raises(EngineFailure, match="remove it on this node"):
        scratch_of("a", "engine-0", tmp_path)
    own.rename(tmp_path / "elsewhere")
    own.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(EngineFailure, match="may be written by others"):
        scratch_of("a", "engine-0", tmp_path)


def test_an_engine_over_several_nodes_is_told_where_the_cluster_is(tmp_path: Path) -> None:
    engine = NodeEngine(order(ray_address="10.0.0.1:6379"), "127.0.0.1", tmp_path)
    try:
        assert said(engine, 2)[1] == "RAY_ADDRESS OWN"
    finally:
        engine.stop(0)


def test_what_was_told_is_not_told_again(made: NodeEngine) -> None:
    said(made, 2)
    assert (made.look(1).lines, made.look(2).lines) == (("OWN",), ())


def test_a_line_that_comes_during_a_look_is_told_once_and_no_other_is_lost(made: NodeEngine) -> None:
    both = said(made, 2)

    class Heard(deque[tuple[int, str]]):
        def __iter__(self) -> Iterator[tuple[int, str]]:
            if len(self) == 2:
                made._heard("meanwhile")
            return super().__iter__()

    made._lines = Heard(made._lines)
    first = made.look(0)
    assert first.lines + made.look(first.said).lines == (*both, "meanwhile")


def test_a_claim_takes_what_runs_and_starts_what_has_ended(made: NodeEngine) -> None:
    first = made.look(0)
    assert made.claim().pid == first.pid
    os.kill(first.pid, signal.SIGKILL)
    until(lambda: made.look(0).exit_code == -9, 20)
    second = made.claim()
    assert (second.boot, second.run, second.exit_code) == (first.boot, first.run + 1, None)
    assert second.pid != first.pid


def test_a_stop_leaves_no_process_and_the_actor_able_to_start(made: NodeEngine) -> None:
    pid = made.look(0).pid
    made.stop(5)
    assert made.look(0).exit_code is not None
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    assert made.claim().exit_code is None


def test_one_that_cannot_be_started_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "none"))
    seen: ProcessStatus = NodeEngine(order(), "127.0.0.1", tmp_path).look(0)
    assert (seen.exit_code, seen.pid) == (CANNOT_START, 0)
    assert "cannot be started here" in seen.lines[0]


def test_memory_is_that_of_its_processes(made: NodeEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LORA_GATEWAY_DEVICE", "cpu")
    assert made.memory()[1] == "host"
    until(lambda: (made.memory()[0] or 0) > 1_000_000)  # a process that has just been made has little yet
