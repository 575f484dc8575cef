"""The way to a gateway: httpx, plain and in a loop, with every failure told in our own words."""

from __future__ import annotations

import os
import ssl
import threading
import weakref
from collections.abc import AsyncGenerator, Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypedDict

import httpx

from gateway.client.calls import Call, delta_of
from gateway.client.errors import (
    AnswerError,
    ConnectionLost,
    GatewayUnreachable,
    InvalidArgument,
    TimedOut,
    answer_error,
)
from gateway.client.model_list import Catalogue, catalogue_of
from gateway.config.loopback import may_use_proxy
from gateway.errors import NOT_JSON

DEFAULT_URL = "http://127.0.0.1:8080"
CONNECT_TIMEOUT_S = 5.0
ANSWER_TIMEOUT_S = 660.0
"""Longer than the gateway's own limit on an answer's begin, so that the gateway says what was slow."""
KEPT_S = 4.0
"""Shorter than servers and balancers keep an idle connection (5 s and more), so that none is used while it is
being closed; whether the engine ran a call that met such a close cannot be known."""
MODELS = Call("/v1/models")


@dataclass(frozen=True)
class Target:
    """Which gateway, and who asks."""

    url: str
    api_key: str | None = field(default=None, repr=False)


def target_of(url: str, api_key: str | None) -> Target:
    """`http://host:port`, with or without `/v1`. Raises InvalidArgument."""
    try:
        parts = httpx.URL(url.strip())
    except (httpx.InvalidURL, TypeError, AttributeError) as error:
        raise InvalidArgument("url", f"{url!r} is no address: {error}") from None
    if parts.scheme not in ("http", "https") or not parts.host:
        raise InvalidArgument("url", f"{url!r} is no address; write http://host:port")
    # Here, since h11's error for such a header, in the middle of the first call, shows the whole key.
    if api_key and not (api_key.isascii() and api_key.isprintable() and api_key == api_key.strip()):
        raise InvalidArgument("api_key", "has a space around it, a line break or what is not ASCII")
    path = parts.path.rstrip("/").removesuffix("/v1")
    return Target(str(parts.copy_with(path=path or "/", query=None)).rstrip("/"), api_key)


class _Options(TypedDict):
    base_url: str
    headers: dict[str, str]
    timeout: httpx.Timeout
    limits: httpx.Limits
    verify: ssl.SSLContext | bool
    trust_env: bool


def _options(target: Target) -> _Options:
    # Reading the certificates takes 20 ms, and nobody shows one over http.
    verify = httpx.create_ssl_context() if target.url.startswith("https:") else False
    return {
        "base_url": target.url,
        "headers": {"authorization": f"Bearer {target.api_key}"} if target.api_key else {},
        # No bound on connections, hence no wait for one: how many run at once is the gateway's to bound.
        "timeout": httpx.Timeout(ANSWER_TIMEOUT_S, connect=CONNECT_TIMEOUT_S, pool=None),
        "limits": httpx.Limits(max_connections=None, max_keepalive_connections=64, keepalive_expiry=KEPT_S),
        "verify": verify,
        "trust_env": may_use_proxy(target.url),
    }


class Link:
    """For any number of threads."""

    def __init__(self, target: Target, transport: httpx.BaseTransport | None = None) -> None:
        self.target = target
        self._transport = transport
        self._lock = threading.Lock()
        self._client = self._connected()

    def ask(self, call: Call, loaded: Iterable[str] = ()) -> Any:
        """The answer's JSON. Raises ClientError."""
        return _document(self.target.url, self._answer(call, loaded))

    def text(self, path: str) -> str:
        """The answer as it is. Raises ClientError."""
        return self._answer(Call(path)).text

    def _answer(self, call: Call, loaded: Iterable[str] = ()) -> httpx.Response:
        with _in_our_words(self.target.url):
            response = self._usable().request(_method(call), call.path, json=call.body)
        _check(self.target.url, call, response, loaded)
        return response

    def catalogue(self) -> Catalogue:
        """What is served now. Raises ClientError."""
        return _catalogue(self.target.url, self.ask(MODELS))

    def stream(self, call: Call, loaded: Iterable[str] = ()) -> Generator[str, None, None]:
        """The pieces of text as they come; closing it tells the engine to stop. Raises ClientError."""
        asked = self._usable().stream("POST", call.path, json=call.body)
        with _in_our_words(self.target.url), asked as response:
            if response.is_error:
                # A stream's body is not there before it is read, and an error's text stands in it.
                response.read()
            _check(self.target.url, call, response, loaded)
            reader = _Events(self.target.url, call, loaded, response.headers)
            for data in response.iter_bytes():
                yield from reader.texts(data)
        reader.end()

    def close(self) -> None:
        self._client.close()

    def _usable(self) -> httpx.Client:
        """A process that was forked has connections of its own: two must not read from one."""
        if self._pid != os.getpid():
            with self._lock:
                if self._pid != os.getpid():
                    self._client = self._connected()
        return self._client

    def _connected(self) -> httpx.Client:
        client = httpx.Client(**_options(self.target), transport=self._transport)
        self._pid = os.getpid()
        # httpx's client closes nothing when it is collected, and nobody has to close a manager.
        weakref.finalize(self, client.close)
        return client


class AsyncLink:
    """For any number of tasks of one loop."""

    def __init__(self, target: Target, transport: httpx.AsyncBaseTransport | None = None) -> None:
        self.target = target
        self._client = httpx.AsyncClient(**_options(target), transport=transport)

    async def ask(self, call: Call, loaded: Iterable[str] = ()) -> Any:
        """The answer's JSON. Raises ClientError."""
        return _document(self.target.url, await self._answer(call, loaded))

    async def text(self, path: str) -> str:
        """The answer as it is. Raises ClientError."""
        return (await self._answer(Call(path))).text

    async def _answer(self, call: Call, loaded: Iterable[str] = ()) -> httpx.Response:
        with _in_our_words(self.target.url):
            response = await self._client.request(_method(call), call.path, json=call.body)
        _check(self.target.url, call, response, loaded)
        return response

    async def catalogue(self) -> Catalogue:
        """What is served now. Raises ClientError."""
        return _catalogue(self.target.url, await self.ask(MODELS))

    async def stream(self, call: Call, loaded: Iterable[str] = ()) -> AsyncGenerator[str, None]:
        """The pieces of text as they come; closing it tells the engine to stop. Raises ClientError."""
        asked = self._client.stream("POST", call.path, json=call.body)
        with _in_our_words(self.target.url):
            async with asked as response:
                if response.is_error:
                    await response.aread()
                _check(self.target.url, call, response, loaded)
                reader = _Events(self.target.url, call, loaded, response.headers)
                async for data in response.aiter_bytes():
                    for piece in reader.texts(data):
                        yield piece
        reader.end()

    async def close(self) -> None:
        await self._client.aclose()


class _Events:
    """Server-sent events to text."""

    def __init__(self, url: str, call: Call, loaded: Iterable[str], headers: Mapping[str, str]) -> None:
        """`headers`: the answer's, which has its request's id."""
        self._url = url
        self._call = call
        self._loaded = loaded
        self._headers = headers
        self._begun = b""
        self._done = False

    def texts(self, data: bytes) -> Iterator[str]:
        """Of the lines that these bytes end. Raises ClientError as `_text` does.

        httpx's own lines end at U+2028 and the like too, which stand in JSON as they are.
        """
        *lines, self._begun = (self._begun + data).split(b"\n")
        yield from filter(None, map(self._text, lines))

    def _text(self, line: bytes) -> str:
        """Raises ClientError for an error event, and for what is no event of a chat."""
        if not line.startswith(b"data:"):
            return ""  # a comment, or the end of an event
        data = line[5:].strip()
        if data == b"[DONE]":
            self._done = True
            return ""
        try:
            text, error = delta_of(data)
        except (*NOT_JSON, LookupError, TypeError, AttributeError) as problem:
            raise ConnectionLost(self._url, f"an event that cannot be read: {problem}") from problem
        if error is not None:
            raise answer_error(None, error, self._headers, self._call.model, self._loaded)
        return text

    def end(self) -> None:
        """Raises ConnectionLost where the stream broke off before its end."""
        self._text(self._begun)  # a server may leave out the last line's end
        if not self._done:
            raise ConnectionLost(self._url, "the stream has no end")


def _method(call: Call) -> str:
    return "GET" if call.body is None else "POST"


def _check(url: str, call: Call, response: httpx.Response, loaded: Iterable[str]) -> None:
    if response.has_redirect_location:  # not followed: a POST would become a GET
        raise GatewayUnreachable(url, f"it leads to {response.headers['location']}")
    if not response.is_success:
        raise answer_error(response.status_code, response.content, response.headers, call.model, loaded)


def _document(url: str, response: httpx.Response) -> Any:
    try:
        return response.json()
    except NOT_JSON as error:
        raise GatewayUnreachable(url, "what answers there is no lora-gateway: it sends no JSON") from error


def _catalogue(url: str, document: object) -> Catalogue:
    try:
        return catalogue_of(document)
    except ValueError as error:
        raise GatewayUnreachable(url, f"what answers there is no lora-gateway: {error}") from error


@contextmanager
def _in_our_words(url: str) -> Iterator[None]:
    """Raises ClientError for what httpx raises inside."""
    try:
        yield
    except httpx.HTTPError as error:
        raise _failure(url, error) from None


def _failure(url: str, error: httpx.HTTPError) -> GatewayUnreachable | AnswerError:
    """Nothing came back, or not all of it."""
    reason = str(error) or type(error).__name__
    # Before the other: httpx's ConnectTimeout is a TimeoutException, and nothing was sent by then.
    if isinstance(error, (httpx.ConnectError, httpx.ConnectTimeout, httpx.UnsupportedProtocol)):
        return GatewayUnreachable(url, reason)
    if isinstance(error, httpx.TimeoutException):
        return TimedOut(504, f"The gateway at {url} did not answer within {ANSWER_TIMEOUT_S:.0f} s.")
    return ConnectionLost(url, reason)
