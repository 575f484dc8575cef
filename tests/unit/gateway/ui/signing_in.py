"""A browser at the page, as far as a client without one can be: it keeps the cookie and sends the token."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import httpx

from tests.support.stack import Stack, key_of

KEYS = {
    "boss": key_of("boss", role="admin"),
    "user": key_of("user", tasks=["naming"]),
    "op": key_of("op", role="operator", tenant="acme", tasks=["naming"]),
}


@dataclass
class Browser:
    """One that is signed in."""

    client: httpx.AsyncClient
    cookie: str
    token: str

    async def ask(
        self,
        method: str,
        path: str,
        *,
        headers: Mapping[str, str] | None = None,
        json: object = None,
        content: bytes | None = None,
    ) -> httpx.Response:
        """A request of the page's scripts."""
        sent = {"cookie": self.cookie, "x-csrf-token": self.token, **(headers or {})}
        return await self.client.request(method, f"/ui/api{path}", headers=sent, json=json, content=content)


async def sign_in(stack: Stack, key: str) -> Browser:
    answer = await stack.client.post("/ui/api/session", json={"key": key})
    assert answer.status_code == 200, answer.text
    cookie = answer.headers["set-cookie"].partition(";")[0]
    stack.client.cookies.clear()
    return Browser(stack.client, cookie, answer.json()["token"])
