"""The page's own files: read once, compressed beforehand, and told to browsers with what they may do."""

from __future__ import annotations

import gzip
import hashlib
import re
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable

from starlette.types import Receive, Scope, Send

from gateway.endpoints.asgi import Head
from gateway.errors import NotFound

POLICY = (
    b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    b"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""Nothing from elsewhere, and nothing that stands within the page."""
GUARDS = [
    (b"content-security-policy", POLICY),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-frame-options", b"DENY"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(), microphone=(), geolocation=()"),
]
START = "index.html"
TYPES = {
    "html": b"text/html; charset=utf-8",
    "js": b"text/javascript; charset=utf-8",
    "css": b"text/css; charset=utf-8",
    "svg": b"image/svg+xml",
    "txt": b"text/plain; charset=utf-8",
}
_HASHED = re.compile(r"-[0-9A-Za-z]{8}\.(js|css)$")
_GZIP = re.compile(rb"(^|,)\s*gzip\s*(,|$|;\s*q=(?!0(\.0*)?\s*(,|$)))")


@dataclass(frozen=True, slots=True)
class Asset:
    """One file, as it is sent."""

    plain: bytes
    packed: bytes
    kind: bytes
    etag: bytes
    lasting: bool
    """Its name has a digest of its content, so that a browser need not ask for it again."""


class PageFiles:
    """Every file of the page, in memory: some 60 kB."""

    def __init__(self) -> None:
        place = files("gateway.ui") / "assets"
        self.assets = {
            one.name: _asset(one) for one in place.iterdir() if one.name.rpartition(".")[2] in TYPES
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        name = scope.get("path_params", {}).get("file") or START
        asset = self.assets.get(name)
        if asset is None:
            raise NotFound(f"The page has no file {name[:80]!r}.")
        sent = dict(scope["headers"])
        packed = bool(_GZIP.search(sent.get(b"accept-encoding", b"")))
        headers = [
            (b"etag", asset.etag),
            (b"cache-control", b"public, max-age=31536000, immutable" if asset.lasting else b"no-cache"),
            (b"vary", b"accept-encoding"),
            (b"x-request-id", Head(scope["headers"]).request_id),
            *GUARDS,
        ]
        known = [one.strip().removeprefix(b"W/") for one in sent.get(b"if-none-match", b"").split(b",")]
        if asset.etag in known:
            await send({"type": "http.response.start", "status": 304, "headers": headers})
            await send({"type": "http.response.body", "body": b""})
            return
        body = asset.packed if packed else asset.plain
        headers += [(b"content-type", asset.kind), (b"content-length", b"%d" % len(body))]
        if packed:
            headers.append((b"content-encoding", b"gzip"))
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})


def _asset(file: Traversable) -> Asset:
    plain = file.read_bytes()
    kind = TYPES[file.name.rpartition(".")[2]]
    etag = b'"%b"' % hashlib.sha256(plain).hexdigest()[:32].encode()
    return Asset(plain, _packed(plain), kind, etag, _HASHED.search(file.name) is not None)


@cache
def _packed(plain: bytes) -> bytes:
    """Once in a process, however many gateways it makes."""
    return gzip.compress(plain, mtime=0)  # without a time in its head: every worker sends the same bytes
