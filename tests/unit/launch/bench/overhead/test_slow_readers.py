"""Streams that are hardly read: held open, full before they are measured, and closed at the end."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from launch.bench.overhead import slow_readers
from launch.bench.programs import proc
from launch.bench.programs.running import ProxyUnderTest
from tests.support.waiting import until


class Clock:
    """Seconds that only sleeping lets pass."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(slow_readers, "time", made)
    return made


@contextmanager
def listening() -> Iterator[tuple[int, list[socket.socket]]]:
    """A port, and the connections that were made to it."""
    taken: list[socket.socket] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def accept() -> None:
            while True:
                try:
                    taken.append(server.accept()[0])
                except OSError:
                    return

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        yield server.getsockname()[1], taken
        server.shutdown(socket.SHUT_RDWR)
        thread.join(10)
    for one in taken:
        one.close()


def mock(monkeypatch: pytest.MonkeyPatch, state: Callable[[], dict[str, int]]) -> None:
    """The engine's answers to a look at its pace."""
    monkeypatch.setattr(slow_readers, "post", lambda url, body, headers: (200, json.dumps(state()).encode()))


def test_it_waits_until_the_engine_is_held_back(monkeypatch: pytest.MonkeyPatch, clock: Clock) -> None:
    sent = iter([0, 1000, 2000, 2000 + 2 * slow_readers.FULL_CHUNKS_PER_S - 1])
    mock(monkeypatch, lambda: {"chunks": next(sent)})
    assert slow_readers._wait_until_full("http://m", 2) == 2.0


def test_streams_that_never_fill_are_measured_all_the_same(
    monkeypatch: pytest.MonkeyPatch, clock: Clock
) -> None:
    mock(monkeypatch, lambda: {"chunks": int(clock.now * 10_000)})
    assert slow_readers._wait_until_full("http://m", 1) == slow_readers.FULL_LIMIT_S


def test_a_reader_takes_a_kilobyte_and_never_waits() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        assert slow_readers._read_little(ours) == 0
        theirs.sendall(b"x" * 1500)
        assert [slow_readers._read_little(ours) for _ in range(3)] == [1024, 476, 0]


def test_what_the_kernel_holds_is_in_bytes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    stat = tmp_path / "sockstat"
    stat.write_text("sockets: used 10\nTCP: inuse 5 orphan 0 tw 2 alloc 9 mem 3\nUDP: inuse 1 mem 7\n")
    monkeypatch.setattr(slow_readers, "Path", lambda _: stat)
    assert slow_readers._socket_bytes() == 3 * slow_readers.PAGE_BYTES
    stat.unlink()
    assert slow_readers._socket_bytes() == 0


def test_figures_of_streams_that_are_read_a_little_every_second(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, clock: Clock
) -> None:
    asked: list[str] = []

    def wrk(subject: ProxyUnderTest, folder: Path, connections: int, seconds: float) -> SimpleNamespace:
        asked.append(subject.name)
        return SimpleNamespace(row=lambda: {"of": subject.name})

    resident = iter([10 * 2**20, *(int((10 + step) * 2**20) for step in range(4))])
    monkeypatch.setattr(slow_readers, "run_wrk", wrk)
    monkeypatch.setattr(proc, "resident_bytes", lambda pids: next(resident))
    monkeypatch.setattr(proc, "cpu_s", lambda pids: clock.now / 4)
    monkeypatch.setattr(slow_readers, "_socket_bytes", lambda: 2**20)
    with listening() as (port, taken):
        mock(monkeypatch, lambda: {"chunks": 0, "streams": 3})
        subject = ProxyUnderTest("gateway", f"http://127.0.0.1:{port}", {"authorization": "Bearer k"})
        found: dict[str, Any] = slow_readers.measure_slow_readers(subject, "http://m", tmp_path, 3, 3.0)
        until(lambda: len(taken) == 3)
        heads = [one.recv(4096) for one in taken]
        ends = [one.recv(1) for one in taken]
    assert all(b"Bearer k" in head and b'"stream"' in head for head in heads)
    assert ends == [b"", b"", b""]  # closed, also where the measuring fails
    assert found["resident_mib"] == [10.0, 11.0, 12.0]
    assert found["growth_mib_per_s"] == pytest.approx(1.0)
    assert found["kib_per_stream"] == pytest.approx(2 * 1024 / 3)
    assert found["cpu_share"] == pytest.approx(0.25)
    assert (found["readers"], found["filled_s"], found["kernel_socket_mib"]) == (3, 0.0, 1.0)
    assert asked == ["gateway", "direct"]
    assert (found["live_request"], found["live_request_direct"]) == ({"of": "gateway"}, {"of": "direct"})
