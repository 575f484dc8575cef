"""A key that floods a task takes nothing from one that asks a little, seen at the engine."""

from __future__ import annotations

import asyncio
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.fakes.fake_engine import Answer
from tests.support.stack import TASKS, Stack, key_of, stack
from tests.support.waiting import eventually

pytestmark = pytest.mark.anyio
KEYS = {name: key_of(name) for name in ("flood", "light")}


class Held:
    """The fake engine holds every request until it is told; in the order in which they began there."""

    def __init__(self, s: Stack) -> None:
        self.begun: list[str] = []
        self.holds: list[asyncio.Event] = []
        s.engine.answers = dict.fromkeys(("base", *TASKS.values()), self._answer)

    def _answer(self, asked: dict[str, Any]) -> Answer:
        self.begun.append(asked["messages"][-1]["content"])
        self.holds.append(asyncio.Event())
        return Answer(hold_head=self.holds[-1])

    def have_begun(self, count: int) -> bool:
        return len(self.begun) == count

    def one_ends(self) -> None:
        next(hold for hold in self.holds if not hold.is_set()).set()

    def all_end(self) -> None:
        for hold in self.holds:
            hold.set()


def ask(s: Stack, client: httpx.AsyncClient, key: str, model: str) -> asyncio.Task[httpx.Response]:
    body = {"model": model, "messages": [{"role": "user", "content": key}]}
    headers = {"authorization": f"Bearer {key}"}
    url = f"http://127.0.0.1:{s.port}/v1/chat/completions"
    return asyncio.create_task(client.post(url, json=body, headers=headers))


@pytest.mark.parametrize("model", ["naming", "concept"], ids=["same-task", "another-task"])
async def test_a_light_key_gets_the_next_turn_at_the_engine(tmp_path: Path, model: str) -> None:
    async with (
        stack(tmp_path, keys=KEYS, max_in_flight=4, max_waiting_per_task=20, max_waiting=30) as s,
        httpx.AsyncClient(timeout=30, limits=httpx.Limits(max_connections=100)) as client,
    ):
        held, admission = Held(s), s.gateway.admission
        flood = [ask(s, client, "flood", "naming") for _ in range(60)]
        await eventually(lambda: admission.waiting == 20 and sum(one.done() for one in flood) == 36)
        refused = [one.result() for one in flood if one.done()]
        assert {one.status_code for one in refused} == {429}
        assert all(int(one.headers["retry-after"]) >= 1 for one in refused)
        for number in range(10):
            light = ask(s, client, "light", model)
            await eventually(lambda: admission._turns.owners.tenants.are_several)
            began = 4 + 2 * number
            held.one_ends()
            await eventually(partial(held.have_begun, began + 1))
            assert held.begun[began] == "light"  # the first turn that comes free, as on an idle gateway
            held.holds[began].set()
            assert (await light).status_code == 200
            await eventually(partial(held.have_begun, began + 2))
        while not all(one.done() for one in flood):
            held.all_end()
            await asyncio.sleep(0)
        await s.at_rest()


async def test_a_length_of_hundreds_of_digits_waits_its_turn_like_any(tmp_path: Path) -> None:
    """Where no engine tells its context; its turn failed within the request that gave the place back."""
    async with stack(tmp_path, max_in_flight=1) as s:
        held, admission = Held(s), s.gateway.admission
        first = asyncio.create_task(s.chat(model="base"))
        await eventually(lambda: held.have_begun(1))
        body = b'{"model":"base","messages":[{"role":"user","content":"x"}],"max_tokens":%s}' % (b"9" * 400)
        second = asyncio.create_task(s.chat(body))
        await eventually(lambda: admission.waiting == 1)
        held.one_ends()
        assert (await first).status_code == 200
        await eventually(lambda: held.have_begun(2))
        held.all_end()
        assert (await second).status_code == 200
        await eventually(lambda: (admission.in_flight, admission.waiting) == (0, 0))
