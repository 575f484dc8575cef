"""A hub in a thread: what it holds, and how it misbehaves, are the test's to say."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

COMMIT = "c0ffee" + "0" * 34


@dataclass
class FakeHub:
    files: dict[str, bytes]
    """Of the one repository, org/name."""
    url: str = ""
    refusal: tuple[int, str] | None = None
    """Status and X-Error-Code of every answer,"""
    downloads_only: bool = False
    """or of the downloads alone."""
    sizes: dict[str, int] = field(default_factory=dict)
    """What is announced where it is not the truth."""
    digests: dict[str, str] = field(default_factory=dict)
    cut: bool = False
    """A download ends in its middle."""
    asked: list[str] = field(default_factory=list)
    tokens: set[str] = field(default_factory=set)

    def info(self) -> dict[str, object]:
        return {
            "id": "org/name",
            "sha": COMMIT,
            "siblings": [self._sibling(name, data) for name, data in self.files.items()],
        }

    def _sibling(self, name: str, data: bytes) -> dict[str, object]:
        size = self.sizes.get(name, len(data))
        git = hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
        found: dict[str, object] = {"rfilename": name, "size": size, "blobId": self.digests.get(name, git)}
        if name.endswith(".safetensors"):
            digest = self.digests.get(name, hashlib.sha256(data).hexdigest())
            found["lfs"] = {"size": size, "sha256": digest, "pointerSize": 130}
        return found


@contextmanager
def fake_hub(files: dict[str, bytes]) -> Iterator[FakeHub]:
    hub = FakeHub(files)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = unquote(urlsplit(self.path).path)
            hub.asked.append(path)
            hub.tokens.add(self.headers.get("Authorization", ""))
            if hub.refusal is not None and not (hub.downloads_only and path.startswith("/api/")):
                status, code = hub.refusal
                self._answer(status, b"", {"X-Error-Code": code} if code else {})
            elif path in ("/api/models/org/name", "/api/models/org/name/revision/v1"):
                self._answer(200, json.dumps(hub.info()).encode())
            elif path.startswith("/api/models/org/name/revision/"):
                self._answer(404, b"", {"X-Error-Code": "RevisionNotFound"})
            elif path.startswith(prefix := f"/org/name/resolve/{COMMIT}/"):
                self._send(hub.files[path.removeprefix(prefix)])
            else:
                self._answer(404, b"", {"X-Error-Code": "RepoNotFound"})

        def _send(self, data: bytes) -> None:
            if not hub.cut:
                self._answer(200, data)
                return
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data[: len(data) // 2])
            self.close_connection = True

        def _answer(self, status: int, data: bytes, headers: dict[str, str] | None = None) -> None:
            self.send_response(status)
            for name, value in {"Content-Length": str(len(data)), **(headers or {})}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: object) -> None:
            """Nothing on the test's output."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        hub.url = f"http://127.0.0.1:{server.server_address[1]}"
        serving = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        serving.start()
        try:
            yield hub
        finally:
            server.shutdown()
            serving.join()
