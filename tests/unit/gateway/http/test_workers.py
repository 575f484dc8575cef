"""Workers on one port: real processes, real signals."""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import pytest

from gateway.errors import ConfigError
from gateway.http.workers import Patience, Worker, listen
from tests.support import worker_program
from tests.support.process_ends import LONG_S, wait_for_end, watched

ROOT = Path(__file__).parents[4]


class Program:
    """The program in tests/support/worker_program.py."""

    def __init__(self, behaviour: str, shutdown_timeout_s: float) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-u", "-m", worker_program.__name__, behaviour, str(shutdown_timeout_s)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        self._unread = b""
        self.port = int(self.line())

    def line(self) -> bytes:
        """The next line that it prints."""
        assert self.process.stdout is not None
        while b"\n" not in self._unread:
            assert select.select([self.process.stdout], [], [], LONG_S)[0], "nothing printed"
            piece = os.read(self.process.stdout.fileno(), 4096)
            assert piece, "it ended"
            self._unread += piece
        line, _, self._unread = self._unread.partition(b"\n")
        return line

    def ask(self) -> tuple[int, dict[str, float]]:
        """Which process answers a new connection, and the metrics it sees."""
        with self.connection() as connection:
            return read_answer(connection, b".")

    def connection(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=LONG_S)

    def pids(self) -> set[int]:
        """Of both workers; the kernel chooses between them by the client's port."""
        found: set[int] = set()
        for _ in range(200):
            found.add(self.ask()[0])
            if len(found) == 2:
                return found
        raise AssertionError(f"only {found} answered")

    def end(self) -> tuple[int, str]:
        """Wait for its end; exit code and what it logged."""
        _, logged = self.process.communicate(timeout=LONG_S)
        return self.process.returncode, logged.decode()


@contextmanager
def program(behaviour: str = "good", shutdown_timeout_s: float = LONG_S) -> Iterator[Program]:
    started = Program(behaviour, shutdown_timeout_s)
    try:
        yield started
    finally:
        with suppress(ProcessLookupError):  # the group lives on where a worker does
            os.killpg(started.process.pid, signal.SIGKILL)
        started.process.communicate(timeout=LONG_S)


def read_answer(connection: socket.socket, question: bytes) -> tuple[int, dict[str, float]]:
    connection.sendall(question)
    answer = b""
    while piece := connection.recv(65536):
        answer += piece
    pid, *lines = answer.decode().splitlines()
    samples = (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
    return int(pid), {name: float(value) for name, value in samples}


def requests_of(samples: dict[str, float]) -> float:
    return next(value for name, value in samples.items() if name.startswith("lora_gateway_requests_total"))


def in_flight_of(samples: dict[str, float]) -> float:
    return next(
        value for name, value in samples.items() if name.startswith("lora_gateway_requests_in_flight")
    )


def test_each_worker_answers_and_sees_all_counters() -> None:
    with program() as running:
        assert running.process.pid not in running.pids()
        _, before = running.ask()
        _, after = running.ask()
        assert requests_of(after) == requests_of(before) + 1
        assert after["lora_gateway_workers"] == 2


def test_a_killed_worker_is_replaced_and_its_counters_go_on() -> None:
    with program() as running:
        both = running.pids()
        with running.connection() as held:
            killed, seen = read_answer(held, b"h")
            assert in_flight_of(seen) == 1
            with watched({killed}) as ends:
                os.kill(killed, signal.SIGKILL)
                wait_for_end(ends)
        answered = requests_of(seen)
        replaced = 0
        while not replaced and answered < requests_of(seen) + 200:
            pid, samples = running.ask()
            answered += 1
            assert requests_of(samples) == answered
            replaced = pid if pid not in both else 0
        assert replaced
        assert in_flight_of(samples) == 0
        assert running.pids() == both - {killed} | {replaced}
        running.process.terminate()
        code, logged = running.end()
        assert code == 0
        assert f"(pid {killed}) was ended by SIGKILL; another starts in" in logged


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_all(number: int) -> None:
    with program() as running, watched(running.pids()) as ends:
        running.process.send_signal(number)
        assert running.end() == (0, "")
        wait_for_end(ends)
        with pytest.raises(ConnectionRefusedError):
            running.connection()


def test_a_killed_parent_takes_its_workers_with_it() -> None:
    with program() as running, watched(running.pids()) as ends:
        running.process.kill()
        wait_for_end(ends)


def test_a_worker_that_does_not_stop_is_killed_in_time() -> None:
    with program("stubborn", shutdown_timeout_s=0.05) as running, watched(running.pids()) as ends:
        running.process.terminate()
        code, logged = running.end()
        assert code == 0
        assert "worker 0 did not end in time and was killed" in logged
        wait_for_end(ends)


def test_a_second_interrupt_kills_at_once() -> None:
    with program("stubborn", shutdown_timeout_s=10 * LONG_S) as running, watched(running.pids()) as ends:
        running.process.send_signal(signal.SIGINT)
        assert {running.line(), running.line()} == {b"told"}
        with pytest.raises(ConnectionRefusedError):
            running.connection()  # refused while the workers finish what they have
        running.process.send_signal(signal.SIGINT)
        assert running.end()[0] == 0
        wait_for_end(ends)


def test_workers_that_fail_at_their_start_end_the_whole() -> None:
    with program("failing") as running:
        code, logged = running.end()
        assert code == 1
        assert "RuntimeError: no good" in logged
        assert "ended with exit code 1, as did 4 before it at their start; stopping" in logged


def test_the_pause_doubles_and_begins_again_after_a_settled_life() -> None:
    patience = Patience()
    with closing(socket.socket()) as listener:
        worker = Worker(0, listener)
        pauses = []
        for _ in range(8):
            worker.ended(worker.began_s + 1.0, patience)
            pauses.append(worker.backoff_s)
        assert pauses == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0]
        assert worker.failed_starts == 8
        worker.ended(worker.began_s + 6.0, patience)
        assert (worker.backoff_s, worker.failed_starts) == (5.0, 0)
        worker.ended(worker.began_s + 31.0, patience)
        assert (worker.backoff_s, worker.due_s) == (0.1, worker.began_s + 31.1)


@pytest.mark.parametrize(("first", "second"), [(1, 1), (1, 2), (2, 1), (2, 2)])
def test_a_taken_port_is_refused(first: int, second: int) -> None:
    held = listen("127.0.0.1", 0, first)
    port = held[0].getsockname()[1]
    try:
        assert {one.getsockname() for one in held} == {("127.0.0.1", port)}
        assert len(held) == first
        with pytest.raises(ConfigError) as caught:
            listen("127.0.0.1", port, second)
        assert str(caught.value) == (
            f"gateway.port: 127.0.0.1:{port}: Address already in use; "
            "stop what listens there, or set another port"
        )
    finally:
        for one in held:
            one.close()
    for one in listen("127.0.0.1", port, second):
        one.close()


def test_a_port_that_another_start_asks_for_is_refused() -> None:
    with closing(listen("127.0.0.1", 0, 1)[0]) as free:
        port = free.getsockname()[1]
    with socket.socket(socket.AF_UNIX) as claim:
        claim.bind(f"\0lora-gateway-port-{port}")
        with pytest.raises(ConfigError, match=f"127.0.0.1:{port}: Address already in use"):
            listen("127.0.0.1", port, 2)
    for one in listen("127.0.0.1", port, 2):
        one.close()
