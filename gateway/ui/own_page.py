"""Whether a browser's request comes from this gateway's own page: pure, on headers alone.

A page of another origin cannot use the session (the cookie is SameSite=Strict, HttpOnly, the path's own) and
cannot send the token. Without keys there is no session, so there the name in `Host` must be this machine's:
a foreign name that was made to point here (DNS rebinding) is refused, whatever a browser calls its origin.
"""

from __future__ import annotations

import hashlib
import hmac
from urllib.parse import urlsplit

from gateway.config.loopback import host_name, is_loopback
from gateway.config.origins import Headers
from gateway.errors import Forbidden

COOKIE = "lora_gateway_session"
TOKEN_HEADER = b"x-csrf-token"
_READ = frozenset((b"host", b"origin", b"sec-fetch-site", b"cookie", TOKEN_HEADER))


class PageHead:
    """What the page's routes read of a request's headers."""

    __slots__ = ("host", "origin", "session", "site", "token")

    def __init__(self, headers: Headers) -> None:
        sent: dict[bytes, str] = {}
        for name, value in headers:
            if name in _READ:
                text = value.decode("latin-1")
                sent[name] = f"{sent[name]}; {text}" if name == b"cookie" and name in sent else text
        self.host = sent.get(b"host", "")
        self.origin = sent.get(b"origin")
        self.site = sent.get(b"sec-fetch-site")
        self.token = sent.get(TOKEN_HEADER, "")
        self.session = _cookie(sent.get(b"cookie", ""))


def check_origin(head: PageHead, *, keyless: bool) -> None:
    """Raises Forbidden (403) for what another page has sent, or what comes under another machine's name."""
    if keyless and not is_loopback(host_name(f"//{head.host}")):
        raise Forbidden(
            "Without keys the page answers under this machine's own names alone, such as localhost; "
            "`lora-gateway keys create NAME --role admin` makes a key to sign in with.",
            code="host_not_allowed",
        )
    # Browsers say it themselves, out of a page's reach, but for older ones (Safari before 16.4) and programs.
    if head.site is not None:
        own = head.site == "same-origin"
    else:
        own = head.origin is None or (head.host != "" and _host_of(head.origin) == head.host.lower())
    if not own:
        raise Forbidden("This is for the gateway's own page alone.", code="origin_not_allowed")


def check_token(head: PageHead) -> None:
    """Raises Forbidden (403) where the session's token is not beside it."""
    # Without keys, and so without a session, everybody can make it. That it is sent at all still takes a page
    # of this origin: for a header like this a browser asks leave first, which nobody gives for /ui.
    if not hmac.compare_digest(head.token.encode(), token_of(head.session).encode()):
        raise Forbidden(
            f"The header '{TOKEN_HEADER.decode()}' does not hold this session's token; load the page anew.",
            code="token_not_valid",
        )


def token_of(session: str) -> str:
    """The token that goes with a session; only whoever may read answers of this origin learns it."""
    return hashlib.sha256(b"lora-gateway page " + session.encode()).hexdigest()


def is_encrypted(head: PageHead, scheme: str) -> bool:
    """Whether the browser came over https, here or to a proxy in front."""
    return scheme == "https" or (head.origin or "").startswith("https://")


def _host_of(origin: str) -> str:
    """As `Host` has it; empty where it is none, as `null`, or cannot be read."""
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return ""


def _cookie(header: str) -> str:
    for part in header.split(";"):
        name, _, value = part.strip().partition("=")
        if name == COOKIE:
            return value
    return ""
