"""What the routes of files and batches have in common: whose call it is, its query, its JSON answer."""

from __future__ import annotations

import urllib.parse
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from dataclasses import dataclass

from starlette.types import Receive, Scope, Send

from gateway.admission.api_keys import Keys, Principal
from gateway.endpoints.asgi import Head, send_json
from gateway.errors import InvalidRequest

JsonDocument = dict[str, object]


@dataclass(frozen=True, slots=True)
class ResourceRequest:
    """A client's request with a key that is known."""

    principal: Principal
    head: Head
    scope: Scope
    receive: Receive

    @property
    def named(self) -> str:
        """The id in its path."""
        return str(self.scope["path_params"]["id"])


def query_of(scope: Scope, known: Collection[str]) -> dict[str, str]:
    """Without what is empty (`?after=`). Raises InvalidRequest for a parameter that is not known here."""
    found = dict(urllib.parse.parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True))
    check_known(found, known)
    return {name: value for name, value in found.items() if value}


def check_known(names: Iterable[str], known: Collection[str]) -> None:
    """Raises InvalidRequest for a name that is not known here."""
    for name in names:
        if name not in known:
            raise InvalidRequest(
                f"Unknown parameter '{name[:80]}'; known here: {', '.join(known) or 'none'}.",
                param=name[:80],
                code="unsupported_parameter",
            )


Handler = Callable[[ResourceRequest], Awaitable[JsonDocument]]


class Resource:
    """A path, and what answers for each method."""

    def __init__(self, keys: Keys, handlers: Mapping[str, Handler]) -> None:
        self._keys = keys
        self._handlers = handlers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        head = Head(scope["headers"])
        principal = self._keys.principal(head.authorization, head.api_keys, scope.get("client"))
        method = "GET" if scope["method"] == "HEAD" else scope["method"]
        document = await self._handlers[method](ResourceRequest(principal, head, scope, receive))
        await send_json(send, document, head.request_id)


def limit_of(query: Mapping[str, str], default: int, most: int) -> int:
    """The query's `limit`, else `default`. Raises InvalidRequest unless it is from 1 to `most`."""
    text = query.get("limit")
    if text is None:
        return default
    if not (text.isascii() and text.isdigit() and len(text) < 9 and 1 <= int(text) <= most):
        raise InvalidRequest(f"'limit' must be a whole number from 1 to {most}.", param="limit")
    return int(text)


def page_of(items: list[JsonDocument], limit: int) -> JsonDocument:
    """OpenAI's list; `items` are one more than `limit` where there are more."""
    shown = items[:limit]
    return {
        "object": "list",
        "data": shown,
        "first_id": shown[0]["id"] if shown else None,
        "last_id": shown[-1]["id"] if shown else None,
        "has_more": len(items) > limit,
    }
