"""A small HTTP server in a thread, for clients that block."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Handler(BaseHTTPRequestHandler):
    """Keeps its connections, and says nothing on the test's output."""

    protocol_version = "HTTP/1.1"
    wbufsize = -1  # an answer is sent whole: a body after its head waits 40 ms for an acknowledgement

    def log_message(self, format: str, *args: object) -> None:
        pass

    def body(self) -> bytes:
        """What the request has; it must be read before the answer."""
        return self.rfile.read(int(self.headers.get("content-length", 0)))

    def answer(self, content: bytes, status: int = 200, **headers: str) -> None:
        """A whole answer; in a header's name `_` stands for `-`."""
        self.send_response(status)
        for name, value in {"content-length": str(len(content)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(content)


@contextmanager
def serving(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    """Its URL, as long as it serves."""
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
