"""A hub in a thread: what it holds, and how it misbehaves, are the test's to say."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

from tests.fakes.http_server import Handler, serving

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

    class Hub(Handler):
        def do_GET(self) -> None:
            path = unquote(urlsplit(self.path).path)
            hub.asked.append(path)
            hub.tokens.add(self.headers.get("Authorization", ""))
            if hub.refusal is not None and not (hub.downloads_only and path.startswith("/api/")):
                status, code = hub.refusal
                self.answer(b"", status, **({"x_error_code": code} if code else {}))
            elif path in ("/api/models/org/name", "/api/models/org/name/revision/v1"):
                self.answer(json.dumps(hub.info()).encode())
            elif path.startswith("/api/models/org/name/revision/"):
                self.answer(b"", 404, x_error_code="RevisionNotFound")
            elif path.startswith(prefix := f"/org/name/resolve/{COMMIT}/"):
                self._send(hub.files[path.removeprefix(prefix)])
            else:
                self.answer(b"", 404, x_error_code="RepoNotFound")

        def _send(self, data: bytes) -> None:
            if not hub.cut:
                self.answer(data)
                return
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data[: len(data) // 2])
            self.close_connection = True

    with serving(Hub) as hub.url:
        yield hub
