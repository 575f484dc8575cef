"""Requests that come at their own times, whether those before are answered or not, from several keys."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from launch.bench.overhead import payload
from launch.bench.overhead.stream_load import StreamClient, connect, request_bytes

LEFT = 0
"""In place of a status: the client had waited for as long as it does, and left."""
BROKEN = 599
"""A stream that began and ended with an error, or a connection that was closed."""
Body = Callable[[random.Random], bytes]
"""A request's body, with what chance puts into it."""


@dataclass(frozen=True)
class Asking:
    """What one key asks: one body at random moments, `per_s` a second, whatever becomes of the answers."""

    name: str
    headers: Mapping[str, str]
    body: Body
    per_s: float


@dataclass(frozen=True)
class Outcome:
    """Of one request; seconds from when it was due, however late it was sent."""

    name: str
    status: int
    due_s: float
    """From the beginning of the visit."""
    first_s: float
    ended_s: float


def arrivals(chance: random.Random, per_s: float, window_s: float) -> list[float]:
    """Times of a Poisson process."""
    found: list[float] = []
    at_s = 0.0
    while per_s and (at_s := at_s + chance.expovariate(per_s)) < window_s:
        found.append(at_s)
    return found


class OpenLoop:
    """Clients of one URL, each of which waits for `patience_s` and says so."""

    def __init__(self, url: str, patience_s: float) -> None:
        self._url = url
        self._patience_s = patience_s
        self._began = 0.0
        self._idle: list[StreamClient] = []
        self._outcomes: list[Outcome] = []

    async def run(self, askings: Sequence[Asking], window_s: float, seed: str) -> list[Outcome]:
        """What became of every request that was due within the window."""
        due = [
            (at_s, asking, random.Random(f"{seed}-{asking.name}-{number}"))
            for asking in askings
            for number, at_s in enumerate(
                arrivals(random.Random(f"{seed}-{asking.name}"), asking.per_s, window_s)
            )
        ]
        return await self.replay(sorted(due, key=lambda one: one[0]))

    async def replay(self, due: Sequence[tuple[float, Asking, random.Random]]) -> list[Outcome]:
        """What became of each request, in the order of their ends; `due` in seconds from now, in order."""
        began = self._began = time.perf_counter()
        async with asyncio.TaskGroup() as tasks:
            for at_s, asking, chance in due:
                await asyncio.sleep(began + at_s - time.perf_counter())
                # uvloop counts in whole milliseconds, and wakes up to half of one early.
                while time.perf_counter() < began + at_s:  # noqa: ASYNC110 - time is waited for, no event
                    await asyncio.sleep(0)
                tasks.create_task(self._ask(asking, chance, began + at_s))
        self.close()
        return self._outcomes

    async def closed(self, asking: Asking, clients: int, window_s: float, seed: str) -> list[Outcome]:
        """Of so many clients that ask again once they are answered, as quickly as they are."""
        self._began = time.perf_counter()
        until = self._began + window_s

        async def client(number: int) -> None:
            chance = random.Random(f"{seed}-{number}")
            while (now := time.perf_counter()) < until:
                await self._ask(asking, chance, now)

        await asyncio.gather(*map(client, range(clients)))
        self.close()
        return self._outcomes

    def close(self) -> None:
        """No connection is kept any longer."""
        while self._idle:
            self._idle.pop().transport.close()

    async def _ask(self, asking: Asking, chance: random.Random, due: float) -> None:
        headers = {**asking.headers, "x-request-timeout-ms": f"{self._patience_s * 1000:.0f}"}
        request = request_bytes(self._url, asking.body(chance), headers)
        client: StreamClient | None = None
        status, first_s = BROKEN, 0.0
        try:
            async with asyncio.timeout(due + self._patience_s - time.perf_counter()):
                client = self._kept() or await connect(self._url)
                answer = await client.ask(request)
            status, first_s = client.status, client.first_at - due
            # vLLM (0.32) sends its [DONE] behind the event of an error too.
            if status == 200 and (not answer.endswith(payload.DONE) or b'"error"' in answer[-2000:]):
                status = BROKEN
        except TimeoutError:
            status = LEFT
            if client is not None:
                client.transport.abort()  # at once, as a client that is killed
        except OSError:
            pass
        else:
            if not client.closed:
                self._idle.append(client)
        ended_s = time.perf_counter() - due
        self._outcomes.append(Outcome(asking.name, status, due - self._began, first_s, ended_s))

    def _kept(self) -> StreamClient | None:
        while self._idle:
            client = self._idle.pop()
            if not client.closed:
                return client
        return None
