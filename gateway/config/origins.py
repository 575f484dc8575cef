"""Pages of other origins that may call this gateway from a browser (CORS): pure, on headers alone.

A page sends its key itself, in a header; cookies and a browser's own credentials are never asked for, so that
`*` gives a page no more than any program has. `/admin` and `/ui` are for no page of another origin, whatever
is allowed.

Without keys whoever is on the machine may call. A page of the internet is not, though a browser there runs
it: it can have a name of its own lead here (DNS rebinding), and then read what is answered, or send what a
browser asks nobody's leave for. So another machine's name is refused, as `gateway.ui.own_page` does it, and
of pages that are not listed what is sent as anything but JSON (`OwnName`).
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Protocol

from gateway.config.loopback import host_name, is_loopback
from gateway.errors import Forbidden

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

READING = (b"GET", b"HEAD", b"OPTIONS")
WEB = ("http://", "https://", "null")
"""How the origins of pages begin; those of programs and of browsers' extensions have schemes of their own."""
JSON = b"application/json"
NOT_PUBLIC = (".local", ".internal", ".home.arpa", ".test")
"""Ends of names that no registry of the internet gives away: RFC 6762, ICANN's of 2024, RFC 8375 and 6761."""
MEND = "`lora-gateway keys create NAME` makes a key, which every name and page may be used with."

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
            # Else a cache could hand this answer to a page that is listed, which could not read it.
            return b"vary: origin\r\n"
        return b"access-control-allow-origin: %b\r\nvary: origin\r\n%b" % (origin, _EXPOSE)

    def lists(self, origin: bytes) -> bool:
        """Whether pages of that origin may call."""
        return self._any or self._pattern.fullmatch(origin.lower()) is not None

    def _origin(self, headers: Headers) -> bytes | None:
        sent = [value for name, value in headers if name == b"origin"]
        return sent[0] if len(sent) == 1 and self._pattern.fullmatch(sent[0].lower()) else None


class RequiredKeys(Protocol):
    """Of the gateway's keys (`admission.api_keys.Keys`)."""

    required: bool
    """Whoever has none is answered nothing; it may change at any time."""


class OwnName:
    """With keys it refuses nobody: a page has none of them."""

    def __init__(self, keys: RequiredKeys, cors: Cors | None) -> None:
        """`cors`: pages that may call; their own names are taken too, of a proxy that passes them on."""
        self._keys = keys
        self._cors = cors

    def refuses(self) -> bool:
        """Whether it does so now."""
        return not self._keys.required

    def check(self, method: bytes, sent: Mapping[bytes, bytes]) -> None:
        """Refuse what another site's page could send to a gateway without keys. Raises Forbidden (403).

        `sent` are the request's headers, by names in lower case.
        """
        if self._keys.required:
            return
        host = sent.get(b"host", b"").decode("latin-1")
        if not (is_of_here(host) or self._lists(f"http://{host}", f"https://{host}")):
            raise Forbidden(
                f"Without keys this answers under this machine's own names alone, such as localhost. {MEND}",
                code="host_not_allowed",
            )
        origin = sent.get(b"origin", b"").decode("latin-1")
        # A browser lets a page read nothing without `Cors`' leave, and asks for that before it sends JSON.
        if method in READING or not origin.startswith(WEB) or sent.get(b"content-type", b"")[:16] == JSON:
            return
        if not (is_loopback(host_name(origin)) or self._lists(origin)):
            raise Forbidden(
                f"A page of {origin[:100]!r} may not call this; gateway.cors_origins lists those that may. "
                f"{MEND}",
                code="origin_not_allowed",
            )

    def _lists(self, *origins: str) -> bool:
        cors = self._cors
        return cors is not None and any(cors.lists(origin.encode("latin-1")) for origin in origins)


def asked_by_a_page(headers: Headers) -> bytes | None:
    """The origin of a preflight, where a request with OPTIONS is one."""
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


@lru_cache(maxsize=256)
def is_of_here(host: str) -> bool:
    """Whether a `Host` can be this machine's: an address, which leads where it says, or a name that is
    nobody's on the internet, such as `host.docker.internal`, by which containers call their machine.
    """
    name = host_name(f"//{host}").rstrip(".")
    if "." not in name or is_loopback(name) or name.endswith(NOT_PUBLIC):
        return True
    try:
        ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        return False
    return True
