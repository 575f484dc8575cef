"""The route that a wrong path was meant for: pure, on paths alone."""

from __future__ import annotations

import re
from collections.abc import Collection

from gateway.errors import nearest

_FULL_URL = re.compile(r"^/?https?:/+[^/]+")
_REPEATED = re.compile(r"^/v1(/v1)+(?=/|$)")
_PARAMETER = re.compile(r"\{(\w+)(:\w+)?\}")
MAX_PATH_CHARS = 512


def meant_path(path: str, routes: Collection[str]) -> str | None:
    """What `path` should have been, of the paths of `routes` (Starlette's), or None.

    Bases of clients end with or without `/v1` and a slash, and what they add begins with one or not.
    """
    if len(path) > MAX_PATH_CHARS:
        return None
    tidy = "/" + "/".join(part for part in _FULL_URL.sub("", path).split("/") if part)
    tidy = _REPEATED.sub("/v1", tidy)
    tried = [tidy, f"/v1{tidy}", tidy.removeprefix("/v1"), tidy.lower(), f"/v1{tidy}".lower()]
    tried += [tidy[at:] for at in (tidy.find("/v1/", 1), tidy.find("/openai/", 1)) if at > 0]
    patterns = [re.compile(_pattern(route)) for route in routes]
    for candidate in tried:
        if candidate != path and any(pattern.fullmatch(candidate) for pattern in patterns):
            return candidate
    return nearest(tidy, [route for route in routes if "{" not in route])


def _pattern(route: str) -> str:
    """A parameter is one segment here, whatever it may be to the router."""
    parts = _PARAMETER.split(route)  # text, name, convertor, text, ...
    return "[^/]+".join(re.escape(text) for text in parts[::3])
