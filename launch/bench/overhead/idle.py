"""Clients that hold a connection open and ask nothing."""

from __future__ import annotations

import contextlib
import resource
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

from launch.bench.programs.running import ProxyUnderTest

ANSWER_BYTES = 4096


def raise_open_files() -> int:
    """Raise the bound on open files to the most that is allowed; children inherit it. The bound."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


@contextmanager
def held_idle(subject: ProxyUnderTest, count: int) -> Iterator[int]:
    """Connections that each had one answered GET /health and then stay; how many could be opened."""
    parts = urlsplit(subject.url)
    assert parts.hostname is not None
    assert parts.port is not None
    request = f"GET /health HTTP/1.1\r\nhost: {parts.netloc}\r\n\r\n".encode()
    held: list[socket.socket] = []
    try:
        for _ in range(count):
            try:
                client = socket.create_connection((parts.hostname, parts.port), timeout=10)
            except OSError:
                break  # out of files or ports: the count says how far it went
            held.append(client)
            client.sendall(request)
            if not client.recv(ANSWER_BYTES):
                break
        yield len(held)
    finally:
        for client in held:
            client.close()
