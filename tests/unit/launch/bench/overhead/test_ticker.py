"""Small requests one after another, in a program of its own, until it is told to stop."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from launch.bench.overhead.ticker import ticking
from launch.bench.programs.running import ProxyUnderTest


@contextmanager
def server() -> Iterator[tuple[str, list[str | None]]]:
    keys: list[str | None] = []

    class Answers(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            keys.append(self.headers["authorization"])
            self.send_response(200)
            self.send_header("content-length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, *_: Any) -> None:
            pass

    made = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    threading.Thread(target=made.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{made.server_port}", keys
    made.shutdown()
    made.server_close()


def test_figures_are_there_when_the_block_ends() -> None:
    with server() as (url, keys):
        with ticking(ProxyUnderTest("x", url, headers={"authorization": "Bearer k"})) as figures:
            assert figures == {}
        assert figures["requests"] == len(keys) >= 0
        assert set(keys) <= {"Bearer k"}
        if keys:
            assert 0 < figures["p50_us"] <= figures["p99_us"] <= figures["longest_us"]
