"""Clients that hold a connection open: each had its answer, and all are closed at the end."""

from __future__ import annotations

import resource
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from launch.bench.overhead.idle import held_idle, raise_open_files
from launch.bench.programs.running import ProxyUnderTest


@contextmanager
def server(answers: int) -> Iterator[tuple[str, list[socket.socket]]]:
    """Answers so many; later ones are closed unanswered."""
    held: list[socket.socket] = []
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            while True:
                try:
                    client, _ = listening.accept()
                except OSError:
                    return
                client.recv(4096)
                if len(held) < answers:
                    held.append(client)  # before the answer: who has that may count them
                    client.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
                else:
                    client.close()

        threading.Thread(target=serve, daemon=True).start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}", held
        listening.shutdown(socket.SHUT_RDWR)
        for client in held:
            client.close()


def test_each_holds_a_connection_that_was_answered() -> None:
    with server(5) as (url, held):
        with held_idle(ProxyUnderTest("x", url), 3) as opened:
            assert (opened, len(held)) == (3, 3)
        assert [client.recv(1) for client in held] == [b"", b"", b""]  # they left


def test_count_says_how_far_it_went() -> None:
    with server(2) as (url, _), held_idle(ProxyUnderTest("x", url), 10) as opened:
        assert opened == 3  # the third was not answered, and no more were tried


def test_open_files_are_raised_to_the_most_that_may_be() -> None:
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    assert raise_open_files() == most == resource.getrlimit(resource.RLIMIT_NOFILE)[0]
