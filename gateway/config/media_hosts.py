"""From where an engine may fetch media that a request names by an address. Pure: no name is looked up.

The engine fetches, and looks a name up again when it does. So what can be held here is which hosts may be
named and how; that a listed name leads to no private address, and that it redirects to none, is for whoever
owns the name, and for the engine's own settings.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from urllib.parse import urlsplit

_NAME = re.compile(r"(\*\.)?([a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9])?\.)+[a-z][a-z0-9-]*\Z")
_PLAIN = re.compile(r"[!-\[\]-~]+\Z")
"""Printable ASCII without a backslash, at which readers of an address part."""
_PRIVATE = (".local", ".internal", ".localhost", ".localdomain", ".home.arpa", ".onion")


def media_host(text: str) -> str:
    """An entry of the list, tidy. Raises ValueError where it names nothing of the open internet."""
    host = text.strip().lower().rstrip(".")
    try:
        address = ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        if _NAME.match(host) and not host.endswith(_PRIVATE):
            return host
        raise ValueError(
            "write a host's name as in images.example.com or *.example.com, without scheme, port or path; "
            "none of this machine's or of a private network's"
        ) from None
    # ipaddress counts addresses of multicast as global.
    if not address.is_global or address.is_multicast:
        raise ValueError("nothing is fetched from addresses of this machine or of private networks")
    return str(address)


def fault_of(url: str, hosts: Sequence[str]) -> str | None:
    """Why nothing is fetched from there; None where it is."""
    if not _PLAIN.match(url):
        return "it holds characters that an address does not"
    try:
        parts = urlsplit(url)
        host, port = (parts.hostname or "").rstrip("."), parts.port
    except ValueError:
        return "it is no address"
    if parts.scheme not in ("https", "http"):
        return "only https and http are fetched"
    if "@" in parts.netloc or port not in (None, 80, 443):
        return "a name, a password or a port does not belong into it"
    if not any(host == one or (one.startswith("*.") and host.endswith(one[1:])) for one in hosts):
        return "its host is none of gateway.media_hosts"
    return None
