"""Requests one after the other from several clients, each answer judged, and what came of them."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import httpx

AGAIN_S = 0.05
"""After a refusal; a client that knows its manners waits longer."""
LOST = "lost connection"
"""In a refusal's place, where the gateway itself has ended."""


@dataclass
class Seen:
    """What came of the requests; times are of `time.monotonic`."""

    outcomes: Counter[str] = field(default_factory=Counter)
    """`right`, `wrong`, a refusal's code, or LOST."""
    right_at: list[float] = field(default_factory=list)
    took_s: list[float] = field(default_factory=list)
    replicas: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)

    @property
    def refused(self) -> dict[str, int]:
        """The refusals alone, by code."""
        return {code: count for code, count in self.outcomes.items() if code not in ("right", "wrong")}

    def longest_gap_s(self) -> float:
        """Between two right answers."""
        times = sorted(self.right_at)
        return max((after - before for before, after in itertools.pairwise(times)), default=0.0)


@asynccontextmanager
async def traffic(
    url: str,
    task: str,
    right: Callable[[str], bool],
    *,
    clients: int = 8,
    key: str = "",
    more: Mapping[str, object] | None = None,
) -> AsyncIterator[Seen]:
    """Chats with that task meanwhile; `right` judges an answer's text. They end with the block.

    `more`: of a request, beside or in place of what each has.
    """
    seen, done = Seen(), asyncio.Event()
    limits = httpx.Limits(max_connections=None)
    headers = {"authorization": f"Bearer {key}"} if key else {}
    async with httpx.AsyncClient(base_url=url, timeout=120, limits=limits, headers=headers) as client:
        body = {"model": task, "messages": [{"role": "user", "content": "Name it."}], "max_tokens": 8}
        body |= more or {}
        running = [asyncio.create_task(_ask(client, body, right, seen, done)) for _ in range(clients)]
        try:
            yield seen
        finally:
            done.set()
            await asyncio.gather(*running)


async def _ask(
    client: httpx.AsyncClient,
    body: Mapping[str, object],
    right: Callable[[str], bool],
    seen: Seen,
    done: asyncio.Event,
) -> None:
    while not done.is_set():
        began = time.monotonic()
        try:
            answer = await client.post("/v1/chat/completions", json=body)
        except httpx.TransportError:
            seen.outcomes[LOST] += 1
            await asyncio.sleep(AGAIN_S)
            continue
        if answer.status_code != 200:
            seen.outcomes[f"{answer.status_code} {answer.json()['error']['code']}"] += 1
            await asyncio.sleep(AGAIN_S)
            continue
        text = str(answer.json()["choices"][0]["message"]["content"])
        if not right(text):
            seen.outcomes["wrong"] += 1
            seen.wrong.append(text)
            continue
        seen.outcomes["right"] += 1
        seen.right_at.append(time.monotonic())
        seen.took_s.append(time.monotonic() - began)
        seen.replicas[answer.headers["x-gateway-replica"]] += 1


def one_of(answers: Collection[str]) -> Callable[[str], bool]:
    """Right is one of these, of which the collection may change meanwhile."""
    return lambda text: text in answers
