"""What both managers share: which gateway is asked, the stack of our own, and the connections."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from gateway.client.errors import AlreadyConfigured, NotConfigured
from gateway.client.settings import Attach, Start, environment_target, stack_environment, wanted
from gateway.client.stack.stack import Progress, Stack, differences, start_stack
from gateway.client.transport import AsyncLink, Link, Target


@dataclass(frozen=True)
class Network:
    """How a target is reached; tests give their own."""

    link: Callable[[Target], Link] = Link
    async_link: Callable[[Target], AsyncLink] = AsyncLink


@dataclass
class _Pool:
    """The connections of one event loop, and how many handles use them."""

    link: AsyncLink
    users: int = 0


class Core:
    """Safe from threads; every connection of a loop is closed with the last handle of that loop."""

    def __init__(self, network: Network | None = None) -> None:
        self._network = network or Network()
        self._configuring = threading.Lock()  # for as long as a stack takes to start
        self._lock = threading.Lock()  # for the fields below, never while something is waited for
        self._asked: Attach | Start | None = None
        self._stack: Stack | None = None
        self._link: Link | None = None
        self._pools: dict[asyncio.AbstractEventLoop, _Pool] = {}

    def configure(
        self, arguments: Mapping[str, Any], progress: Progress | None, abandoned: Callable[[], bool]
    ) -> None:
        """Use another gateway, or start one. The same settings again change nothing.

        Raises ClientError; AlreadyConfigured where others are in force. Raises Abandoned.
        """
        starts = arguments.get("base_model_path") is not None
        asked = wanted(stack_environment() if starts else os.environ, **arguments)
        with self._configuring:
            if self._asked is not None and self._lives():
                if asked != self._asked:
                    raise _already(self._asked, asked)
                return
            self.close()
            stack = None
            if isinstance(asked, Start):
                stack = start_stack(asked, progress or silent, abandoned)
                link = self._network.link(Target(stack.url))
            else:
                link = self._network.link(asked.target)
                try:
                    link.catalogue()  # whether it is one, and takes the key
                except BaseException:
                    link.close()
                    raise
            with self._lock:  # all three at once: who closes meanwhile finds all of it, or nothing
                self._stack, self._link, self._asked = stack, link, asked

    @property
    def target(self) -> Target:
        """The gateway that calls go to. Raises NotConfigured before there is one."""
        return self.link.target

    @property
    def link(self) -> Link:
        """Raises NotConfigured where neither configure_models nor LORA_GATEWAY_URL names a gateway."""
        with self._lock:
            if self._link is None:
                target = environment_target()
                if target is None:
                    raise NotConfigured
                self._link = self._network.link(target)
            return self._link

    @asynccontextmanager
    async def async_link(self) -> AsyncIterator[AsyncLink]:
        """The connections of the running loop. Raises NotConfigured."""
        target, loop = self.target, asyncio.get_running_loop()
        with self._lock:
            # One for each loop: httpx's connections belong to the loop that opened them.
            pool = self._pools.get(loop)
            if pool is None or pool.link.target != target:
                pool = self._pools[loop] = _Pool(self._network.async_link(target))
            pool.users += 1
        try:
            yield pool.link
        finally:
            with self._lock:
                pool.users -= 1
                last = not pool.users
                # Another is there where other settings came; who began with this one goes on with it.
                if last and self._pools.get(loop) is pool:
                    del self._pools[loop]
            if last:
                await pool.link.close()

    def close(self) -> None:
        """Close the connections, and end the stack if it is our own; configure_models may be called again."""
        with self._lock:
            link, self._link = self._link, None
            stack, self._stack = self._stack, None
            self._asked = None
        if link is not None:
            link.close()
        if stack is not None:
            stack.stop()

    def _lives(self) -> bool:
        return self._stack is None or not self._stack.ended


def _already(old: Attach | Start, new: Attach | Start) -> AlreadyConfigured:
    if isinstance(old, Start) and isinstance(new, Start):
        what = differences(
            {"state_dir": str(old.state_dir), **old.document},
            {"state_dir": str(new.state_dir), **new.document},
        )
    else:
        shown = [_named(old), _named(new)]
        what = " → ".join(shown) if shown[0] != shown[1] else "another api_key"
    return AlreadyConfigured(
        f"Other settings are in force ({what}): call close() first, which ends a stack that was started from "
        "here, or use a ModelManager of its own."
    )


def _named(asked: Attach | Start) -> str:
    return asked.target.url if isinstance(asked, Attach) else f"a stack on {asked.state_dir}"


def silent(text: str) -> None:
    """The progress that nobody reads."""


def to_stderr(text: str) -> None:
    """A line of progress, as the commands print theirs."""
    print(f"lora-gateway: {text}", file=sys.stderr, flush=True)
