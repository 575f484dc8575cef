"""The way to Redis: what it raises, how long it takes, and what the log may hold."""

from __future__ import annotations

import asyncio
import logging
import ssl
import sys
from typing import Any

import pytest
from redis.exceptions import ConnectionError, NoScriptError, ResponseError

from gateway.agreement.link import Away, RedisLink, Script, check_client_installed, shown
from gateway.config.sections.shared_settings import SharedConfig
from gateway.errors import ConfigError

pytestmark = pytest.mark.anyio

SETTINGS = SharedConfig.model_validate({"redis": "redis://me:secret@127.0.0.1:1/0", "prefix": "p"})
SCRIPT = Script("return 1")


class Client:
    """As redis-py's; each command does what `does` says for it."""

    def __init__(self, **does: Any) -> None:
        self.does = does
        self.asked: list[str] = []

    def __getattr__(self, name: str) -> Any:
        async def command(*arguments: object, **options: object) -> object:
            self.asked.append(name)
            done = self.does.get(name)
            if isinstance(done, BaseException):
                raise done
            return await done() if callable(done) else done

        return command


def linked(clock: Any = None, **does: Any) -> tuple[RedisLink, Client]:
    link, client = RedisLink(SETTINGS, clock or (lambda: 0.0)), Client(**does)
    link._opened = client
    return link, client


async def test_a_script_is_sent_by_its_name_and_whole_where_that_is_unknown() -> None:
    link, client = linked(evalsha=NoScriptError("none"), eval=b"1")
    assert await link.run(SCRIPT, ["k"], ["a"]) == b"1"
    assert client.asked == ["ping", "evalsha", "eval"]
    assert link.up
    client.does["evalsha"] = b"2"
    assert await link.run(SCRIPT, ["k"], ["a"]) == b"2"
    assert client.asked[3:] == ["evalsha"], "one round trip once it is known to be there"


@pytest.mark.parametrize("error", [ConnectionError("127.0.0.1 secret"), ResponseError("OOM"), OSError("x")])
async def test_what_fails_is_away(error: Exception) -> None:
    link, _ = linked(evalsha=error)
    with pytest.raises(Away) as away:
        await link.run(SCRIPT, [], [])
    assert "secret" not in str(away.value)
    assert not link.up


async def test_what_the_system_or_tls_said_is_told() -> None:
    untrusted = ssl.SSLCertVerificationError("certificate verify failed")
    untrusted.verify_message = "self-signed certificate"
    for cause, told in (
        (untrusted, "ConnectionError: its certificate: self-signed certificate"),
        (ConnectionRefusedError(111, "Connection refused"), "ConnectionError: Connection refused"),
        (None, "ConnectionError"),
    ):
        error = ConnectionError("Error connecting to secret:1.")
        error.__context__ = cause
        link, _ = linked(get=error)
        with pytest.raises(Away) as away:
            await link.get("k")
        assert str(away.value) == told


async def test_what_never_answers_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.agreement.link.MOST_S", 0.001)
    link, _ = linked(get=asyncio.Event().wait)
    with pytest.raises(Away):
        await link.get("k")


async def test_what_is_too_slow_is_not_up_though_it_answers() -> None:
    times = iter([0.0, 0.2])
    link, _ = linked(lambda: next(times), evalsha=b"1")
    assert await link.run(SCRIPT, [], []) == b"1"
    assert not link.up


async def test_the_log_says_it_once_and_without_the_password(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    link, client = linked(evalsha=b"1")
    await link.run(SCRIPT, [], [])
    client.does["evalsha"] = ConnectionError()
    for _ in range(3):
        with pytest.raises(Away):
            await link.run(SCRIPT, [], [])
    assert [record.levelname for record in caplog.records] == ["INFO", "WARNING"]
    assert "secret" not in caplog.text
    assert "redis://127.0.0.1:1/0" in caplog.text


def test_an_address_is_shown_without_secrets() -> None:
    assert shown("rediss://me:pa:ss@h:1/0?password=x") == "rediss://h:1/0"
    assert shown("unix:///run/redis.sock?db=1") == "unix:///run/redis.sock"
    for password in ("pa@ss", "pa/ss", "pa?ss", "pa#ss@"):
        assert shown(f"redis://me:{password}@h:1/0") == "redis://h:1/0"


def test_keys_begin_with_the_prefix() -> None:
    assert RedisLink(SETTINGS).key("a", "b") == "p:a:b"


def test_without_the_client_library_the_mend_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    check_client_installed(None)
    check_client_installed(SETTINGS)
    monkeypatch.setitem(sys.modules, "redis.asyncio", None)
    check_client_installed(None)
    with pytest.raises(ConfigError, match=r"lora-gateway\[redis\]"):
        check_client_installed(SETTINGS)


async def test_who_is_cancelled_while_a_channel_is_given_up_is_cancelled() -> None:
    """Else whoever ends it would wait for it for good."""
    closing, went_on = asyncio.Event(), False

    async def close() -> None:
        closing.set()
        await asyncio.Event().wait()

    link, client = linked()
    pubsub = Client(aclose=close)
    client.pubsub = lambda **_: pubsub  # type: ignore[attr-defined]

    async def listen() -> None:
        nonlocal went_on
        async with link.heard("channel"):
            pass
        went_on = True

    listening = asyncio.create_task(listen())
    await closing.wait()
    listening.cancel()
    await asyncio.wait([listening])
    assert (listening.cancelled(), went_on) == (True, False)
