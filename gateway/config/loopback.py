"""What is on this machine's loopback, where no proxy of the environment has any business."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from urllib.parse import urlsplit

PROXIES = frozenset({"http_proxy", "https_proxy", "all_proxy"})


def is_loopback(host: str) -> bool:
    """Whether a URL's host is this machine alone: 127.0.0.0/8, ::1, and `localhost` with all below it."""
    name = host.strip("[]").rstrip(".").lower()
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return name == "localhost" or name.endswith(".localhost")  # RFC 6761, 6.3
    # Python 3.11 takes `::ffff:127.0.0.1` by itself for no loopback.
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return (mapped or address).is_loopback


def host_name(url: str) -> str:
    """In small letters; empty where a URL has none, and nobody's name where it cannot be read."""
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        # With a dot: a name without one passes for this machine's (`origins.is_of_here`).
        return "?.?"


def may_use_proxy(url: str) -> bool:
    """Whether the environment's proxies may be asked for it: only where it is beyond loopback."""
    return not is_loopback(urlsplit(url).hostname or "")


def without_proxies(env: Mapping[str, str]) -> dict[str, str]:
    """`env` for a program that only speaks to loopback."""
    return {name: value for name, value in env.items() if name.lower() not in PROXIES}
