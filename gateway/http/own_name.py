"""Whom a gateway without keys takes for somebody on its machine, though a browser there asks: pure.

Whoever is on the machine may call it. A page of the internet is not, though a browser on the machine runs it:
it can have a name of its own lead here (DNS rebinding), and then read what is answered, or send what a
browser asks nobody's leave for. So another machine's name is refused, as `gateway.ui.own_page` does it, and
of pages that are not listed what is sent as anything but JSON.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from urllib.parse import urlsplit

from gateway.config.loopback import is_loopback
from gateway.config.origins import Cors, Headers
from gateway.errors import Forbidden

READING = (b"GET", b"HEAD", b"OPTIONS")
WEB = ("http://", "https://", "null")
"""How the origins of pages begin; those of programs and of browsers' extensions have schemes of their own."""
JSON = b"application/json"
MEND = "`lora-gateway keys create NAME` makes a key, which every name and page may be used with."


class OwnName:
    """With keys it refuses nobody: a page has none of them."""

    def __init__(self, keyless: Callable[[], bool], cors: Cors | None) -> None:
        """`cors`: pages that may call; their own names are taken too, of a proxy that passes them on."""
        self._keyless = keyless
        self._cors = cors

    def check(self, method: bytes, headers: Headers) -> None:
        """Raises Forbidden (403)."""
        if not self._keyless():
            return
        sent = dict(headers)
        host = sent.get(b"host", b"").decode("latin-1")
        if not (is_of_here(_name_of(f"//{host}")) or self._lists(f"http://{host}", f"https://{host}")):
            raise Forbidden(
                f"Without keys this answers under this machine's own names alone, such as localhost. {MEND}",
                code="host_not_allowed",
            )
        origin = sent.get(b"origin", b"").decode("latin-1")
        if method in READING or not origin.startswith(WEB) or sent.get(b"content-type", b"")[:16] == JSON:
            return
        if not (is_loopback(_name_of(origin)) or self._lists(origin)):
            raise Forbidden(
                f"A page of {origin[:100]!r} may not call this; gateway.cors_origins lists those that may. "
                f"{MEND}",
                code="origin_not_allowed",
            )

    def _lists(self, *origins: str) -> bool:
        cors = self._cors
        return cors is not None and any(cors.lists(origin.encode("latin-1")) for origin in origins)


def is_of_here(name: str) -> bool:
    """Whether a `Host` can be this machine's: an address, which leads where it says, or a name that is
    nobody's on the internet.
    """
    if "." not in name.rstrip(".") or is_loopback(name):
        return True
    try:
        ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        return False
    return True


def _name_of(url: str) -> str:
    """In small letters; one with a dot where it cannot be read."""
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return "?.?"
