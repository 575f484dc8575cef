"""Descriptors: who gets them, and what is said where none is left."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

import pytest

from gateway.errors import RequestError, Unavailable
from gateway.http import descriptors
from gateway.http.descriptors import (
    LOG_EVERY_S,
    MOST_TOLD,
    SPARE,
    Descriptors,
    clients_of,
    is_spared,
    limit_now,
    open_now,
    raise_limit,
)
from gateway.http.engine_pool import Upstream
from tests.fakes.scripted_engine import engine
from tests.unit.gateway.http.test_engine_connection import ask, echo


@contextmanager
def limit(soft: int) -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


class Transport(asyncio.Transport):
    aborted = False

    def abort(self) -> None:
        self.aborted = True


@dataclass(eq=False)
class Client:
    is_idle: bool = False
    told: RequestError | None = None
    closed: bool = False
    transport: asyncio.Transport = field(default_factory=Transport)

    def shutdown(self) -> None:
        self.closed = True

    def refuse(self, error: RequestError) -> None:
        self.told = error

    @property
    def cut_off(self) -> bool:
        assert isinstance(self.transport, Transport)
        return self.transport.aborted


def full_of(clients: int) -> tuple[Descriptors, list[Client]]:
    made = Descriptors(1, 1, clock=lambda: 0.0)
    made.most_clients = clients
    return made, [Client() for _ in range(clients)]


@pytest.mark.parametrize(
    ("limit", "used", "in_flight", "clients"),
    [
        (64, 20, 512, 14),  # half of what is left is for the engines
        (64, 20, 4, 24),  # or as much as they take
        (1_048_576, 20, 512, 1_048_576 - 20 - SPARE - 512),
        (16, 20, 512, 1),  # one always: else nobody could be told anything
    ],
)
def test_what_is_left_is_shared_between_clients_and_engines(
    limit: int, used: int, in_flight: int, clients: int
) -> None:
    assert clients_of(limit, used, in_flight) == clients


def test_one_too_many_is_told_when_to_come_again() -> None:
    made, clients = full_of(3)
    for newcomer in (Client(), Client()):
        clients.append(newcomer)
        made.make_room(clients, newcomer)
        assert isinstance(newcomer.told, Unavailable)
        assert (newcomer.told.code, newcomer.told.retry_after_s) == ("overloaded", 1)
        assert str(limit_now()) in newcomer.told.message
        assert "`ulimit -n`" in newcomer.told.message
    assert not any(client.told or client.closed for client in clients[:3])


def test_an_idle_connection_ends_for_a_newcomer() -> None:
    made, clients = full_of(3)
    clients[1].is_idle = True
    newcomer = Client()
    made.make_room([*clients, newcomer], newcomer)
    assert clients[1].closed
    assert newcomer.told is None


def test_who_was_told_takes_nobodys_place() -> None:
    made, clients = full_of(3)
    told = Client()
    made.make_room([*clients, told], told)
    newcomer = Client()
    made.make_room([*clients[:2], told, newcomer], newcomer)  # one of the three has gone
    assert newcomer.told is None
    made.forget(told)
    made.make_room([*clients, newcomer], newcomer)
    assert newcomer.told is not None


def test_those_who_take_their_answer_are_bounded_too() -> None:
    made, clients = full_of(1)
    told = [Client() for _ in range(MOST_TOLD + 2)]
    for newcomer in told:
        clients.append(newcomer)
        made.make_room(clients, newcomer)
    assert [client.cut_off for client in told] == [True, True] + [False] * MOST_TOLD


def test_it_is_logged_now_and_then_with_the_mend(caplog: pytest.LogCaptureFixture) -> None:
    now = 0.0
    made = Descriptors(1, 1, clock=lambda: now)
    made.most_clients = 0
    for _ in range(5):
        made.make_room([client := Client()], client)
        made.forget(client)
    assert [line.args for line in caplog.records if "told to come again" in line.getMessage()] == [
        (1, limit_now(), 0, descriptors.MEND)
    ]
    now += LOG_EVERY_S
    made.make_room([client := Client()], client)
    assert caplog.records[-1].getMessage().startswith("5 connections were told")


def test_a_limit_under_what_the_configuration_lets_in_is_said(caplog: pytest.LogCaptureFixture) -> None:
    with limit(open_now() + SPARE + 20):
        few, enough = Descriptors(512, 1024), Descriptors(5, 5)
        few.share_out()
        assert few.most_clients == 10
        (line,) = caplog.records
        assert "leaves room for 10 clients at once" in line.getMessage()
        assert f"it takes {open_now() + SPARE + 512 + 1536}; raise it" in line.getMessage()
        enough.share_out()
        assert enough.most_clients == 15
        assert len(caplog.records) == 1


def test_a_kernel_that_does_not_tell_is_no_reason_not_to_start(monkeypatch: pytest.MonkeyPatch) -> None:
    def hidden(_: object) -> list[str]:
        raise FileNotFoundError

    monkeypatch.setattr(os, "listdir", hidden)
    made = Descriptors(1, 1)
    made.share_out()
    assert made.most_clients > 1


def test_the_soft_limit_is_raised_to_the_hard_one() -> None:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    with limit(open_now() + 50):
        raise_limit()
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (hard, hard)


def test_a_limit_that_cannot_be_raised_stays(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refused(*_: object) -> None:
        raise ValueError("not allowed")

    with limit(open_now() + 50), monkeypatch.context() as patched:
        patched.setattr(resource, "setrlimit", refused)
        raise_limit()
        assert "stays at" in caplog.text


def test_no_limit_is_no_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    assert limit_now() == sys.maxsize
    assert not is_spared(10_000)


@pytest.mark.anyio
async def test_engines_leave_the_last_ones_alone() -> None:
    async with engine(echo) as (_, upstream):
        os.close(lowest := os.dup(0))
        with limit(lowest + SPARE):
            await told_none_left(upstream)
        assert await ask(upstream, b"x") == (200, b"x")


@pytest.mark.anyio
async def test_no_descriptor_at_all_is_a_503_and_no_fault_of_the_engines() -> None:
    async with engine(echo) as (made, upstream):
        filler = [os.dup(0)]
        with limit(filler[0] + 1):
            filler += whatever_is_left()
            await told_none_left(upstream)
        for one in filler:
            os.close(one)
        assert not made.connections
        assert await ask(upstream, b"x") == (200, b"x")


@pytest.mark.anyio
async def test_a_machine_that_has_none_is_a_503_that_names_the_machine(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def none(*_: object) -> None:
        raise OSError(errno.ENFILE, "Too many open files in system")

    async with engine(echo) as (_, upstream):
        with monkeypatch.context() as patched:
            patched.setattr(asyncio.get_running_loop(), "create_connection", none)
            with pytest.raises(Unavailable, match=r"fs\.file-max") as told:
                await ask(upstream, b"x")
        assert (told.value.status, told.value.code, told.value.retry_after_s) == (503, "overloaded", 1)
        assert await ask(upstream, b"x") == (200, b"x")


def whatever_is_left() -> Iterator[int]:
    with suppress(OSError):
        while True:
            yield os.dup(0)


async def told_none_left(upstream: Upstream) -> None:
    with pytest.raises(Unavailable) as told:
        await ask(upstream, b"x")
    assert (told.value.status, told.value.code) == (503, "overloaded")
    assert json.dumps(limit_now()) in told.value.message
    assert upstream.open_connections == 0
