"""The way to Redis: scripts and messages, each within a time, and whether it is there."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import re
import ssl
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

from gateway.config.sections.shared_settings import SharedConfig
from gateway.errors import ConfigError, LoraGatewayError

logger = logging.getLogger("gateway.agreement")

MOST_S = 2.0
"""For one command, a new connection included."""
_CREDENTIALS = re.compile(r"//.*@")
_QUERY = re.compile(r"\?.*")


class Away(LoraGatewayError):
    """Redis did not answer in time, or not at all."""


class Script:
    """A program that Redis runs as one step."""

    def __init__(self, text: str) -> None:
        self.text = text
        # Redis names scripts by their SHA-1; nothing is secured by it.
        self.digest = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()


def shown(address: str) -> str:
    """An address without its user and password, for the log."""
    return _QUERY.sub("", _CREDENTIALS.sub("//", address))


def check_client_installed(settings: SharedConfig | None) -> None:
    """Raises ConfigError where Redis is configured and its client library is not there."""
    if settings is None:
        return
    try:
        import redis.asyncio  # noqa: F401
    except ImportError as error:
        mend = "needs the client library: pip install 'lora-gateway[redis]'"
        raise ConfigError("shared.redis", "", mend) from error


class RedisLink:
    """One process's connections to Redis. Use it in one event loop; it connects when it is first asked."""

    def __init__(self, settings: SharedConfig, clock: Callable[[], float] = time.monotonic) -> None:
        self._settings = settings
        self._clock = clock
        self._opened: Any = None
        self._said: bool | None = None
        self.up = False
        """Whether its last answer came, and within `timeout_ms`."""

    @property
    def timeout_s(self) -> float:
        """The longest that a request waits for it."""
        return self._settings.timeout_ms / 1000

    @property
    def follows(self) -> bool:
        """Whether the table comes this way."""
        return self._settings.follow or self._settings.folder is not None

    @property
    def alone(self) -> bool:
        """Whether no control plane runs on this machine."""
        return self._settings.follow

    def key(self, *parts: str) -> str:
        """A name of a key there."""
        return ":".join((self._settings.prefix, *parts))

    async def run(self, script: Script, keys: Sequence[str], arguments: Sequence[str | bytes]) -> Any:
        """What the script gives. Raises Away."""
        if not self.up:
            await self._within(self._client.ping())  # to connect may take longer than an answer
        began = self._clock()
        given = await self._within(self._evaluated(script, keys, arguments))
        # Taken though it came late, but requests wait for no other while it is slow (`share_exchange`).
        self._is(self._clock() - began <= self.timeout_s, "it is too slow")
        return given

    async def get(self, key: str) -> bytes | None:
        """The value behind the key, or None where there is none. Raises Away where Redis does not answer."""
        given: bytes | None = await self._within(self._client.get(key))
        return given

    async def many(self, *keys: str) -> list[bytes | None]:
        """Of several keys. Raises Away."""
        given: list[bytes | None] = await self._within(self._client.mget(keys))
        return given

    async def put(self, key: str, value: bytes | str, most_s: float) -> None:
        """For so many seconds. Raises Away."""
        await self._within(self._client.set(key, value, px=round(most_s * 1000)))

    async def drop(self, key: str) -> None:
        """Delete the key, also where there is none. Raises Away where Redis does not answer."""
        await self._within(self._client.delete(key))

    @asynccontextmanager
    async def heard(self, channel: str) -> AsyncIterator[Callable[[float], Any]]:
        """Messages of a channel: what is given waits so many seconds for one, and gives None without.

        A message may be lost; who needs all of them looks besides. Raises Away, within the block too.
        """
        pubsub = self._client.pubsub(ignore_subscribe_messages=True)

        async def next_message(most_s: float) -> bytes | None:
            with _as_away():
                message = await pubsub.get_message(timeout=most_s)
            return message["data"] if message else None

        try:
            await self._within(pubsub.subscribe(channel))
            yield next_message
        finally:
            with suppress(Exception):  # of a connection that is lost anyway, whatever the library raises
                await pubsub.aclose()

    def lost(self, why: str) -> None:
        """A request has waited for it in vain."""
        self._is(False, why)

    async def close(self) -> None:
        client, self._opened = self._opened, None
        if client is not None:
            with suppress(Exception):  # as above
                await client.aclose()

    @property
    def _client(self) -> Any:
        if self._opened is None:
            from redis.asyncio import Redis
            from redis.asyncio.retry import Retry
            from redis.backoff import NoBackoff

            self._opened = Redis.from_url(
                self._settings.redis,
                retry=Retry(NoBackoff(), 0),  # who asks knows better whether to ask again
                socket_timeout=None,  # `_within` bounds commands, and a channel is listened to for longer
                socket_connect_timeout=MOST_S,
                protocol=2,  # redis-py 8 would begin by 3, and so with HELLO, which servers before 6 lack
            )
        return self._opened

    async def _evaluated(self, script: Script, keys: Sequence[str], arguments: Sequence[str | bytes]) -> Any:
        from redis.exceptions import NoScriptError

        try:
            return await self._client.evalsha(script.digest, len(keys), *keys, *arguments)
        except NoScriptError:  # a new server, or one that was emptied
            return await self._client.eval(script.text, len(keys), *keys, *arguments)

    async def _within(self, asked: Any) -> Any:
        try:
            with _as_away():
                # redis-py closes a connection whose answer was given up, so that nobody reads another's.
                async with asyncio.timeout(MOST_S):
                    return await asked
        except Away as error:
            self._is(False, str(error))
            raise

    def _is(self, up: bool, why: str) -> None:
        self.up = up
        if up is self._said:
            return
        where = shown(self._settings.redis)
        if up:
            logger.info("shared: %s answers", where)
        else:
            logger.warning("shared: %s is away (%s), and each gateway counts by itself meanwhile", where, why)
        self._said = up


class _as_away:
    """What the client library raises, as Away, without an address."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        if error is None:
            return
        from redis.exceptions import RedisError, ResponseError

        if isinstance(error, TimeoutError):
            raise Away("no answer in time") from None
        if isinstance(error, ResponseError):
            raise Away(f"it refuses: {str(error)[:200]}") from error
        if isinstance(error, (RedisError, OSError)):
            raise Away(f"{type(error).__name__}{_cause(error)}") from None


def _cause(error: BaseException) -> str:
    """What the system or TLS said, if that is known; the library's own words may hold an address."""
    found: BaseException | None = error
    while found is not None:
        if isinstance(found, ssl.SSLCertVerificationError):
            return f": its certificate: {found.verify_message}"
        if isinstance(found, OSError) and found.strerror:
            return f": {found.strerror}"
        found = found.__cause__ or found.__context__
    return ""
