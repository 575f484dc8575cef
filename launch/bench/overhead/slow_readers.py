"""Streams without end whose clients hardly read: what they leave in the gateway's memory."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import time
from pathlib import Path
from statistics import linear_regression
from urllib.parse import urlsplit

from launch.bench.overhead import payload
from launch.bench.overhead.mock_engine import ENDLESS
from launch.bench.overhead.stream_load import request_bytes
from launch.bench.overhead.wrk import run_wrk
from launch.bench.programs import proc
from launch.bench.programs.running import ProxyUnderTest, post
from launch.machine.memory import MIB

RECEIVE_BUFFER = 4096
READ_BYTES = 1024
FULL_CHUNKS_PER_S = 20
"""Of each stream: below it the buffers on the way are full, and what still moves is what the readers take."""
FULL_LIMIT_S = 30.0
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


def measure_slow_readers(
    subject: ProxyUnderTest, mock: str, folder: Path, readers: int, seconds: float
) -> dict[str, object]:
    """Open the streams, wait until all buffers are full, then read 1 KiB of each every second and sample
    the gateway's resident memory."""
    post(f"{mock}/pace", json.dumps({"first_ms": 1, "interval_ms": 0}).encode(), {})
    parts = urlsplit(subject.url)
    body = payload.chat_body(stream=True, tokens=ENDLESS)
    request = request_bytes(subject.url + payload.CHAT_PATH, body, subject.headers)
    pids = subject.pids
    before = proc.resident_bytes(pids)
    sockets: list[socket.socket] = []
    samples: list[tuple[float, float]] = []
    try:
        for _ in range(readers):
            client = socket.socket()
            client.setsockopt(
                socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER
            )  # before connect, or it is too late
            client.connect((parts.hostname, parts.port))
            client.sendall(request)
            client.setblocking(False)
            sockets.append(client)
        filled_s = _wait_until_full(mock, readers)
        read = 0
        cpu_before = proc.cpu_s(pids)
        began = time.monotonic()
        while (at := time.monotonic() - began) < seconds:
            samples.append((at, proc.resident_bytes(pids)))
            read += sum(_read_little(client) for client in sockets)
            time.sleep(max(0.0, 1.0 - (time.monotonic() - began - at)))
        cpu_share = (proc.cpu_s(pids) - cpu_before) / (time.monotonic() - began)
        kernel_bytes = _socket_bytes()
        live = run_wrk(subject, folder, 1, 2.0)
        live_direct = run_wrk(ProxyUnderTest("direct", mock), folder, 1, 2.0)
        open_streams = _mock_state(mock)["streams"]
    finally:
        for client in sockets:
            client.close()
    return {
        "readers": readers,
        "open_streams": open_streams,
        "filled_s": filled_s,
        "read_bytes": read,
        "kernel_socket_mib": kernel_bytes / MIB,
        "resident_before_mib": before / MIB,
        "resident_mib": [round(value / MIB, 1) for _, value in samples],
        "kib_per_stream": (samples[-1][1] - before) / readers / 1024,
        "cpu_share": cpu_share,
        "growth_mib_per_s": (linear_regression(*zip(*samples, strict=True)).slope if samples[1:] else 0.0)
        / MIB,
        "live_request": live.row(),
        "live_request_direct": live_direct.row(),
    }


def _mock_state(mock: str) -> dict[str, int]:
    status, answer = post(f"{mock}/pace", b"{}", {})
    assert status == 200
    state: dict[str, int] = json.loads(answer)
    return state


def _wait_until_full(mock: str, streams: int) -> float:
    """Wait until the engine is held back on so many streams; the seconds it took, at most `FULL_LIMIT_S`."""
    began = time.monotonic()
    sent = _mock_state(mock)["chunks"]
    while (waited := time.monotonic() - began) < FULL_LIMIT_S:
        time.sleep(1.0)
        now = _mock_state(mock)["chunks"]
        if now - sent < FULL_CHUNKS_PER_S * streams:
            return waited
        sent = now
    return FULL_LIMIT_S


def _socket_bytes() -> int:
    """What the kernel holds for all TCP sockets of the machine; no process's resident memory has it."""
    with contextlib.suppress(OSError, ValueError, StopIteration):
        lines = Path("/proc/net/sockstat").read_text(encoding="ascii").splitlines()
        words = next(line for line in lines if line.startswith("TCP:")).split()
        return int(words[words.index("mem") + 1]) * PAGE_BYTES  # counted in pages
    return 0


def _read_little(client: socket.socket) -> int:
    with contextlib.suppress(BlockingIOError):
        return len(client.recv(READ_BYTES))
    return 0
