"""Pages of other origins that may call this gateway from a browser (CORS): pure, on headers alone.

A page sends its key itself, in a header; cookies and a browser's own credentials are never asked for, so that
`*` gives a page no more than any program has. `/admin` and `/ui` are for no page of another origin, whatever
is allowed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

Headers = Iterable[tuple[bytes, bytes]]

MAX_AGE_S = 7200
"""So long a browser need not ask again; the longest that Chrome heeds."""

METHODS = b"GET, HEAD, POST, DELETE"
REQUEST_HEADERS = (
    b"authorization, x-api-key, api-key, content-type, x-request-id, anthropic-version, anthropic-beta, "
    b"anthropic-dangerous-direct-browser-access, openai-organization, openai-project, openai-beta"
)
"""Told where a browser does not say which it means. Where it does, those: none of them opens anything."""

EXPOSED = (
    b"x-request-id, request-id, retry-after, x-gateway-task, x-gateway-adapter, x-gateway-replica, "
    b"x-gateway-queue-ms, x-gateway-overhead-ms, x-gateway-cold, x-gateway-fallback, "
    b"x-gateway-fallback-reason, x-gateway-ignored, "
    b"x-ratelimit-limit-requests, x-ratelimit-remaining-requests, x-ratelimit-reset-requests, "
    b"x-ratelimit-limit-tokens, x-ratelimit-remaining-tokens, x-ratelimit-reset-tokens"
)

_ORIGIN = re.compile(
    r"^[a-z][a-z0-9+.-]*://(\*|(\*\.)?[a-z0-9_][a-z0-9_.-]*|\[[0-9a-f:.]+\])(:([0-9]{1,5}|\*))?\Z"
)
_NAMES = re.compile(rb"^[A-Za-z0-9!#$%&'*+.^_`|~, \t-]{1,4096}\Z")
_EXPOSE = b"access-control-expose-headers: " + EXPOSED + b"\r\n"


def tidy_origin(text: str) -> str:
    """An origin as browsers write it. Raises ValueError where it is none."""
    origin = text.strip().lower().rstrip("/")
    if origin in ("*", "null"):
        return origin
    if not _ORIGIN.match(origin):
        raise ValueError(
            "write '*', or scheme://host[:port] as in https://chat.example.com, https://*.example.com or "
            "http://localhost:*"
        )
    for scheme, port in (("https://", ":443"), ("http://", ":80")):
        if origin.startswith(scheme):
            origin = origin.removesuffix(port)
    return origin


class Cors:
    """What is told to browsers; `origins` are tidy."""

    def __init__(self, origins: Sequence[str]) -> None:
        self._any = "*" in origins
        self._pattern = re.compile("|".join(_pattern(origin) for origin in origins).encode())

    def allows(self, path: str, headers: Headers) -> bool:
        """Whether the page that asks may see answers of this path."""
        return not _closed(path) and (self._any or self._origin(headers) is not None)

    def lines(self, path: str, headers: Headers) -> bytes:
        """Header lines of every answer to such a request."""
        if _closed(path):
            return b""
        if self._any:
            return b"access-control-allow-origin: *\r\n" + _EXPOSE
        origin = self._origin(headers)
        if origin is None:
            return b"vary: origin\r\n"
        return b"access-control-allow-origin: %b\r\nvary: origin\r\n%b" % (origin, _EXPOSE)

    def lists(self, origin: bytes) -> bool:
        """Whether pages of that origin may call."""
        return self._any or self._pattern.fullmatch(origin.lower()) is not None

    def _origin(self, headers: Headers) -> bytes | None:
        sent = [value for name, value in headers if name == b"origin"]
        return sent[0] if len(sent) == 1 and self._pattern.fullmatch(sent[0].lower()) else None


def asked_by_a_page(method: str, headers: Headers) -> bytes | None:
    """The origin of a preflight, where this is one."""
    if method != "OPTIONS":
        return None
    sent = dict(headers)
    return sent.get(b"origin") if b"access-control-request-method" in sent else None


def preflight_headers(headers: Headers) -> list[tuple[bytes, bytes]]:
    """The answer to a preflight whose origin is allowed, without what `Cors.lines` adds."""
    sent = dict(headers)
    names = sent.get(b"access-control-request-headers", b"")
    answer = [
        (b"access-control-allow-methods", METHODS),
        (b"access-control-allow-headers", names if _NAMES.match(names) else REQUEST_HEADERS),
        (b"access-control-max-age", b"%d" % MAX_AGE_S),
    ]
    if sent.get(b"access-control-request-private-network") == b"true":  # from the internet to loopback
        answer.append((b"access-control-allow-private-network", b"true"))
    return answer


def _pattern(origin: str) -> str:
    return re.escape(origin).replace(r"\*", "[a-z0-9_.-]+")


def _closed(path: str) -> bool:
    return path in ("/admin", "/ui") or path.startswith(("/admin/", "/ui/"))
