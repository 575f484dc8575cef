"""`lora-gateway up` whose engine is stopped, and whose control plane is killed in states that are rare."""

from __future__ import annotations

import os
import signal
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from gateway.config.snapshot import FILE, EngineStatus, Snapshot, read_snapshot
from gateway.errors import RequestError
from launch.bench.engine.config import HOST, KEY, write_config
from launch.bench.engine.stack import fail_if_ended
from launch.bench.faults.recovery import running_up, wait_until_ready
from launch.bench.faults.recovery_kills import Patient, SteadyLoad, is_alive, longest_gap
from launch.supervisor.control_client import ControlClient
from tests.fakes.fake_stack import fake_config
from tests.faults.conftest import Note
from tests.faults.processes import LIMIT_S, program
from tests.support.waiting import until

CLIENTS = 3
LOCKED_S = 5.0
"""So long the control plane waits for somebody else's transaction."""


class Stack:
    """`lora-gateway up` on a fake vLLM, under load."""

    def __init__(self, patient: Patient, load: SteadyLoad, state: Path) -> None:
        self.patient = patient
        self.load = load
        self.state = state

    def snapshot(self) -> Snapshot:
        return read_snapshot(self.state / FILE) or Snapshot()

    def engine(self) -> EngineStatus:
        return self.snapshot().engines[0]

    def until_state(self, state: str, but: int = 0) -> EngineStatus:
        """Of an engine whose process is another than `but`."""
        until(lambda: self.engine().state == state and (not but or self.engine().pid != but), LIMIT_S)
        return self.engine()

    def until_answered(self) -> None:
        now = time.monotonic()
        until(lambda: self.load.answered_since(now), LIMIT_S)

    def seen_since(self, moment: float) -> tuple[set[int], float]:
        """The statuses of what was not answered well, and the longest time without an answer."""
        seen = [one for one in self.load.requests if one.ended >= moment]
        start, end = longest_gap(self.load.requests, moment)
        return {one.status for one in seen if one.status != 200}, end - start


@contextmanager
def up_stack(folder: Path, **engine: object) -> Iterator[Stack]:
    config = fake_config(folder, **engine)  # type: ignore[arg-type]
    url = f"http://{HOST}:{config.gateway.port}"
    with running_up(config, folder) as up, SteadyLoad(url, KEY, "naming", CLIENTS) as load:
        patient = Patient(up.pid, config.state_dir, load, lambda: fail_if_ended([up]))
        wait_until_ready(patient, load, up, 2 * LIMIT_S)
        yield Stack(patient, load, config.state_dir)


def test_a_stopped_engine_is_told_from_a_busy_one_and_replaced(tmp_path: Path, note: Note) -> None:
    with up_stack(tmp_path, hang_timeout_s=3.0) as stack:
        stopped, now = stack.engine().pid, time.monotonic()
        os.kill(stopped, signal.SIGSTOP)
        until(lambda: not is_alive(stopped), LIMIT_S)
        stack.until_state("ready", but=stopped)
        stack.until_answered()
        assert stack.engine().kind == ""
        failed, outage_s = stack.seen_since(now)
        assert failed <= {502, 503}
        before = stack.patient.processes()
        stack.until_answered()
        assert stack.patient.processes() == before
    note(
        "a stopped engine is replaced",
        load=f"{CLIENTS} clients",
        fault="engine SIGSTOP, hang_timeout_s 3",
        outcome="its requests 502, the others wait",
        figure=f"{outage_s:.1f} s without an answer",
    )


def test_a_control_plane_that_is_killed_takes_up_what_it_left(tmp_path: Path, note: Note) -> None:
    rows: list[tuple[str, float]] = []
    with up_stack(tmp_path, restart_backoff_s=1.0) as stack:
        for state in ("failed", "starting"):
            now, engine = time.monotonic(), stack.engine().pid
            if state == "failed":
                os.kill(engine, signal.SIGKILL)
            else:
                os.kill(stack.patient.processes().supervisor, signal.SIGKILL)
            seen = stack.until_state(state)
            supervisor = stack.patient.processes().supervisor
            os.kill(supervisor, signal.SIGKILL)
            until(lambda old=supervisor: stack.patient.processes().supervisor not in (0, old), LIMIT_S)  # type: ignore[misc]
            ready = stack.until_state("ready", but=engine)
            stack.until_answered()
            assert not seen.pid or seen.pid == ready.pid or not is_alive(seen.pid)
            failed, outage_s = stack.seen_since(now)
            assert failed <= {0, 502, 503}
            rows.append((state, outage_s))
    for state, outage_s in rows:
        note(
            "a killed control plane takes up what it left",
            load=f"{CLIENTS} clients",
            fault=f"control plane killed, engine {state}",
            outcome="no orphan, requests wait and are answered",
            figure=f"{outage_s:.1f} s without an answer",
        )


def test_a_locked_database_refuses_the_change_and_nothing_else(tmp_path: Path, note: Note) -> None:
    with up_stack(tmp_path) as stack:
        control = ControlClient(stack.state)
        with closing(sqlite3.connect(stack.state / "desired.sqlite")) as other:
            other.isolation_level = None
            other.execute("BEGIN EXCLUSIVE")
            now = time.monotonic()
            with pytest.raises(RequestError, match=r"database is locked.*try again") as refused:
                control.ask("POST", "/keys", {"name": "later"})
            took_s = time.monotonic() - now
            assert (refused.value.status, refused.value.code) == (503, "state_not_kept")
            assert took_s < 2 * LOCKED_S
            stack.until_answered()
            other.execute("ROLLBACK")
        failed, _ = stack.seen_since(now)
        assert not failed
        assert not stack.snapshot().issued_keys
        control.ask("POST", "/keys", {"name": "later"})
        until(lambda: list(stack.snapshot().issued_keys) == ["later"], LIMIT_S)
    note(
        "a locked SQLite is waited for",
        load=f"{CLIENTS} clients",
        fault="desired.sqlite locked",
        outcome="command 503, nothing changed, others right",
        figure=f"refused after {took_s:.1f} s",
    )


def test_a_control_plane_that_cannot_write_says_so_and_ends(tmp_path: Path, note: Note) -> None:
    config = fake_config(tmp_path)
    write_config(config, tmp_path / "config.yaml", KEY)
    (tmp_path / "in-the-way").touch()
    argv = ["launch", "--config", str(tmp_path / "config.yaml"), "--state-dir", str(tmp_path / "in-the-way")]
    with program(argv, tmp_path / "launch.log", wait=False) as launch:
        until(lambda: launch.process.poll() is not None, LIMIT_S)
        assert launch.process.returncode == 2
        assert "in-the-way: cannot be written" in launch.said()
    note(
        "a state directory that cannot be written is named",
        load="none",
        fault="a file stands in its place",
        outcome="control plane ends with 2 and the mend",
    )
