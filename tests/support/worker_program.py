"""A program of several workers without an event loop; the tests of gateway.workers run it as a process.

A worker answers each connection with its process id, a line break and the metrics of all workers. Prints its
port; a stubborn worker prints a line when it is told to stop.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys

from gateway.config.process import HangUp
from gateway.http.workers import Patience, listen, run_workers
from gateway.metrics.counters import Metrics
from gateway.metrics.shared_memory import Region


def main(behaviour: str, shutdown_timeout_s: float) -> int:
    """`behaviour`: "good", "failing" at the start, or "stubborn" when told to stop."""
    logging.basicConfig(format="%(message)s", stream=sys.stderr)
    regions = [Region(64 * 1024) for _ in range(2)]
    sockets = listen("127.0.0.1", 0, 2)
    print(sockets[0].getsockname()[1], flush=True)

    def serve(index: int, listener: socket.socket) -> int:
        if behaviour == "failing":
            raise RuntimeError("no good")
        if behaviour == "stubborn":
            signal.signal(signal.SIGTERM, lambda *_: linger(listener))
        metrics = Metrics(regions, index)
        while True:
            connection, _ = listener.accept()
            with connection:
                answer(connection, metrics)

    patience = Patience(backoff_s=0.01, most_backoff_s=0.02, margin_s=0.01)
    return run_workers(2, sockets, serve, shutdown_timeout_s, HangUp(), patience)


def linger(listener: socket.socket) -> None:
    """Take no more connections, and never end."""
    listener.close()
    os.write(1, b"told\n")
    while True:
        signal.pause()


def answer(connection: socket.socket, metrics: Metrics) -> None:
    """Count and answer. A client that sends "h" is held: in flight until it closes."""
    series = metrics.series["naming", "naming@1", "client"]
    held = connection.recv(1) == b"h"
    if held:
        series.enter()
    series.finished(200, 1.0, 0.0, None, 1, 1)
    connection.sendall(f"{os.getpid()}\n".encode() + metrics.render()[0])
    connection.shutdown(socket.SHUT_WR)
    if held:
        connection.recv(1)
        series.leave()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], float(sys.argv[2])))
