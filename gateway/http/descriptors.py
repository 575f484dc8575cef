"""Descriptors: how many this process may have open, who gets them, and what is said where none is left.

Without one the event loop's library closes whoever comes without a word (libuv, by a descriptor that it
keeps for that). So clients are counted, and one too many is told while there still is one to tell it on.
"""

from __future__ import annotations

import asyncio
import errno
import itertools
import logging
import os
import resource
import sys
import time
from collections.abc import Callable, Collection
from typing import Protocol

from gateway.errors import RequestError, Unavailable

logger = logging.getLogger("gateway.http.descriptors")

SPARE = 16
"""For files, and for those who are told that there is no room."""
USUAL = 32
"""A gateway that listens has some 25."""
MOST_TOLD = SPARE // 2
"""So many of them may still be taking their answer; then the oldest is closed."""
MOST_LOOKED_AT = 4096
"""Among so many connections an idle one is looked for."""
COME_AGAIN_S = 1
LOG_EVERY_S = 10.0
NONE_LEFT = frozenset({errno.EMFILE, errno.ENFILE})
MEND = "raise it with `ulimit -n`, or with LimitNOFILE= where systemd starts the gateway"


class ClientConnection(Protocol):
    """A client's connection, as it is looked at where there are too many."""

    transport: asyncio.Transport

    @property
    def is_idle(self) -> bool:
        """Whether nothing is asked or answered on it now, though something was."""

    def shutdown(self) -> None:
        """Close, once what was written is taken."""

    def refuse(self, error: RequestError, /) -> None:
        """Answer, and close once that is taken."""


class Descriptors:
    """A process's, shared out between clients and engines once it is known what it has open itself."""

    __slots__ = ("_clock", "_in_flight", "_logged_at", "_refused", "_told", "_waiting", "most_clients")

    def __init__(self, in_flight: int, waiting: int, clock: Callable[[], float] = time.monotonic) -> None:
        """`in_flight` requests may be at engines at once, and `waiting` more be let in."""
        self.most_clients = sys.maxsize
        """Connections of clients; more are told to come again."""
        self._in_flight = in_flight
        self._waiting = waiting
        self._clock = clock
        self._told: dict[ClientConnection, None] = {}
        """Those that take their answer still, the oldest first."""
        self._refused = 0
        self._logged_at = -LOG_EVERY_S

    def share_out(self) -> None:
        """Call it once the process listens: what is open then stays open."""
        limit, used = limit_now(), open_now()
        self.most_clients = clients_of(limit, used, self._in_flight)
        wanted = self._in_flight + self._waiting
        if self.most_clients < wanted:
            logger.warning(
                "the limit of open descriptors is %d, which leaves room for %d clients at once, and the "
                "configuration lets %d in: it takes %d; %s",
                limit,
                self.most_clients,
                wanted,
                used + SPARE + self._in_flight + wanted,
                MEND,
            )

    def make_room(self, clients: Collection[ClientConnection], newcomer: ClientConnection) -> None:
        """For the last of so many: an idle one ends for it, or it is told to come again."""
        if len(clients) - len(self._told) <= self.most_clients:  # who is told to go is still among them
            return
        idle = next((one for one in itertools.islice(clients, MOST_LOOKED_AT) if one.is_idle), None)
        if idle is not None:
            idle.shutdown()
            return
        newcomer.refuse(none_left())
        self._told[newcomer] = None
        if len(self._told) > MOST_TOLD:
            oldest = next(iter(self._told))
            self.forget(oldest)  # now: `connection_lost` comes in a later turn of the loop
            oldest.transport.abort()
        self._log()

    def forget(self, client: ClientConnection) -> None:
        """Its connection is gone; nothing happens where it was not told."""
        self._told.pop(client, None)

    def _log(self) -> None:
        self._refused += 1
        now = self._clock()
        if now - self._logged_at < LOG_EVERY_S:
            return
        self._logged_at = now
        logger.warning(
            "%d connections were told to come again: the limit of open descriptors is %d, which leaves room "
            "for %d clients at once; %s",
            self._refused,
            limit_now(),
            self.most_clients,
            MEND,
        )
        self._refused = 0


def clients_of(limit: int, used: int, in_flight: int) -> int:
    """How many connections of clients fit beside what is open, what is spared, and the engines' own.

    Each request at an engine has a connection there, for which half of the room is kept, or as much as all
    of them take.
    """
    room = limit - used - SPARE
    return max(1, room - min(in_flight, room // 2))


def raise_limit() -> None:
    """To the hard limit, as servers do: the soft one is low for programs that use select()."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        except (OSError, ValueError) as error:
            logger.warning("the limit of open descriptors stays at %d: %s", soft, error)


def limit_now() -> int:
    """As the kernel has it at this moment."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return sys.maxsize if soft == resource.RLIM_INFINITY else soft


def open_now() -> int:
    """How many this process has open; `USUAL` where the kernel does not say."""
    try:
        return len(os.listdir("/proc/self/fd")) - 1  # one of them is the look
    except OSError:
        return USUAL


def is_spared(descriptor: int) -> bool:
    """Whether it is one of the last, for files and for telling: the kernel gives the lowest first."""
    return descriptor >= limit_now() - SPARE


def none_left(number: int = errno.EMFILE) -> Unavailable:
    """The 503 that names the limit and the mend: this process's, or for ENFILE the whole machine's."""
    if number == errno.ENFILE:
        return Unavailable(
            "The gateway's machine has as many files open as it may (fs.file-max). Send the request again; "
            "who runs the machine can raise that with sysctl, or look which program holds so many.",
            code="overloaded",
            retry_after_s=COME_AGAIN_S,
        )
    return Unavailable(
        f"The gateway has as many connections as its limit of open descriptors allows ({limit_now()}). Send "
        f"the request again; who runs the gateway can {MEND}.",
        code="overloaded",
        retry_after_s=COME_AGAIN_S,
    )
