"""One request of the page's, behind the checks that hold for all of them."""

from __future__ import annotations

import urllib.parse
from collections.abc import Awaitable, Callable

from starlette.types import Message, Receive, Scope, Send

from gateway.admission.api_keys import Keys
from gateway.endpoints.administration.commands import NOT_KEPT
from gateway.endpoints.asgi import ClientLeft, Head, send_error, send_json
from gateway.errors import RequestError
from gateway.ui.files import GUARDS
from gateway.ui.own_page import COOKIE, PageHead, check_origin, check_token, is_encrypted

READING = ("GET", "HEAD")


class PageCall:
    """One request of the page's."""

    def __init__(self, scope: Scope, receive: Receive, send: Send, page: PageHead) -> None:
        self.scope = scope
        self.receive = receive
        self.send = send
        self.page = page
        self.head = Head(scope["headers"])
        self.extra = [*NOT_KEPT]

    def query(self, name: str) -> str:
        """A parameter of the query, cut where it is long; empty where there is none."""
        query: bytes = self.scope["query_string"]
        return dict(urllib.parse.parse_qsl(query.decode("latin-1"))).get(name, "")[:80]

    def cookie(self, secret: str, lasts_s: int) -> None:
        """For this path alone, out of every script's reach."""
        secure = "; Secure" if is_encrypted(self.page, self.scope.get("scheme", "http")) else ""
        value = f"{COOKIE}={secret}; Path=/ui; Max-Age={lasts_s}; HttpOnly; SameSite=Strict{secure}"
        self.extra.append((b"set-cookie", value.encode()))


Handler = Callable[[PageCall], Awaitable[object]]


class Guarded:
    """A handler behind the checks that hold for all of them; None means that it has answered itself."""

    def __init__(self, keys: Keys, handler: Handler, *, signs_in: bool) -> None:
        """`signs_in`: there is no session yet whose token could be asked for."""
        self._keys = keys
        self._handler = handler
        self._signs_in = signs_in

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        page = PageHead(scope["headers"])

        # Around `send`, so that answers have them too that `passing` brings from other routes.
        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message.get("headers", ()), *GUARDS]}
            await send(message)

        call = PageCall(scope, receive, guarded, page)
        try:
            check_origin(page, keyless=not self._keys.required)
            if scope["method"] not in READING and not self._signs_in:
                check_token(page)
            document = await self._handler(call)
        except ClientLeft:
            return
        except RequestError as error:
            await send_error(guarded, error, call.head.request_id)
            return
        if document is not None:
            await send_json(guarded, document, call.head.request_id, extra=call.extra)
