"""Which of several control planes leads: the one whose word stands in Redis, as long as it says it again.

Redis only decides who may begin. That an earlier leader changes nothing any more is the state's own doing
(`database.StateStore`): each start of a leader counts there, and every change looks whether it is the last.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
import time
from collections.abc import Callable

import msgspec

from gateway.agreement.link import Away, RedisLink, Script
from gateway.agreement.policies import PROBE_S
from gateway.errors import NOT_JSON
from launch.engine.engine import say

LEASE_S = 4.0
"""After so long without a word from the leader there is none."""
RENEW_S = 1.0
ABSENT_S = 2.0
"""So long there must have been none before another begins: a Redis that was emptied has forgotten one who
lives, and hears of it within `RENEW_S`."""
LOOK_S = 0.25
LEADER = ("table", "leader")

LEAD = Script("""
local there = redis.call('GET', KEYS[1])
if there and there ~= ARGV[1] then return there end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return ''
""")
"""Who wants to, and milliseconds. Gives who does, where it is another."""

LEAVE = Script("""
if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end
return 1
""")


class Leader(msgspec.Struct, frozen=True):
    """As it stands in Redis."""

    name: str
    """Given once."""
    where: str
    """For a person."""


def this_one(url: str | None) -> Leader:
    """This process, with the address of the gateway beside it where that is known."""
    host = socket.gethostname()
    return Leader(f"{host}-{os.getpid()}-{secrets.token_hex(4)}", f"{host} ({url})" if url else host)


class Leadership:
    """One control plane's side; use it in one event loop."""

    def __init__(self, link: RedisLink, me: Leader, clock: Callable[[], float] = time.monotonic) -> None:
        self._link = link
        self._word = msgspec.json.encode(me)
        self._key = link.key(*LEADER)
        self._clock = clock
        self._absent_since: float | None = None
        self.me = me
        self.known: Leader | None = None
        """Who leads, as far as is known."""

    async def wait(self, over: Callable[[], bool]) -> bool:
        """Until it is ours; False where `over` says so before."""
        while not over():
            try:
                if await self._could_begin():
                    return True
                pause_s = LOOK_S
            except Away:  # a leader may have said its word while nobody could look
                self._absent_since, pause_s = None, PROBE_S
            await asyncio.sleep(pause_s)
        return False

    async def _could_begin(self) -> bool:
        there = await self._link.get(self._key)
        now = self._clock()
        if there is not None:
            self._note(there)
            self._absent_since = None
            return False
        self.known = None
        if self._absent_since is None:
            self._absent_since = now
        return now - self._absent_since >= ABSENT_S and await self._said()

    async def keep(self) -> None:
        """Say it again and again, until cancelled. That it is another's by now the state tells."""
        while True:
            try:
                await self._said()
                pause_s = RENEW_S
            except Away:
                pause_s = PROBE_S
            await asyncio.sleep(pause_s)

    async def _said(self) -> bool:
        other = await self._link.run(LEAD, [self._key], [self._word, f"{LEASE_S * 1000:.0f}"])
        self._note(other or self._word)
        return not other

    async def leave(self) -> None:
        """For another to begin at once; a Redis that is away hears nothing, and forgets it by itself."""
        self._absent_since = None
        try:
            await self._link.run(LEAVE, [self._key], [self._word])
        except Away:
            return

    def _note(self, word: bytes) -> None:
        try:
            leader = msgspec.json.decode(word, type=Leader)
        except NOT_JSON:
            return  # a later release's; that it is there is enough
        if leader != self.known:
            say("this control plane leads" if leader == self.me else f"stands by; {leader.where} leads")
        self.known = leader
