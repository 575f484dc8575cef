"""Engines that drain, come back, are restarted or leave: what has begun ends well, and nothing new comes."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path

import pytest

from gateway.config.snapshot import EngineStateName
from tests.fakes.fake_engine import Answer
from tests.support.controlled import TWO_TASKS, controlled, held, says, two
from tests.support.stack import TASKS, eventually

pytestmark = pytest.mark.anyio


@pytest.mark.usefixtures("both_ways")
async def test_draining_engine_ends_what_it_has_and_gets_nothing_new(tmp_path: Path) -> None:
    async with two(tmp_path) as t:
        hold = asyncio.Event()
        for engine in (t.c.engine, t.other):
            engine.answers["base"] = Answer(["a", "b", "c"], hold_token={1: hold})
        begun = [asyncio.create_task(t.c.stack.chat(model="base", stream=True)) for _ in range(4)]
        await t.active(4)
        await t.c.tell(t.engines("draining", "ready"))
        assert {(await t.c.stack.chat()).headers["x-gateway-replica"] for _ in range(6)} == {"engine-1"}
        await t.c.control.until_reported(
            lambda report: report.in_flight == 4 and report.version == t.c.version
        )
        assert t.c.control.reports[-1].draining == {"engine-0": 2}
        hold.set()
        answers = [await each for each in begun]
        assert Counter(each.headers["x-gateway-replica"] for each in answers) == {
            "engine-0": 2,
            "engine-1": 2,
        }
        assert all(answer.text.endswith("data: [DONE]\n\n") for answer in answers)
        await t.c.control.until_reported(lambda report: report.in_flight == 0 and not report.draining)
        await t.c.tell(t.engines("stopped", "ready"))
        assert t.c.engine.active == 0


async def test_request_in_the_queue_still_goes_to_the_engine_that_drains(tmp_path: Path) -> None:
    async with controlled(tmp_path, lazy=True, max_in_flight=1) as c:
        hold, c.engine.answers["base"] = held()
        first = asyncio.create_task(c.stack.chat(model="base"))
        await c.engine.until(lambda: c.engine.active == 1)
        queued = asyncio.create_task(c.stack.chat())
        await eventually(lambda: c.stack.gateway.admission.waiting == 1)
        await c.state("draining", lazy=True)
        await c.control.until_reported(lambda report: report.version == c.version and report.in_flight == 2)
        hold.set()
        assert (await first).status_code == 200
        assert says(await queued) == TASKS["naming"]
        await c.control.until_reported(lambda report: report.in_flight == 0)


async def test_pipeline_that_has_begun_ends_on_the_engine_that_drains(tmp_path: Path) -> None:
    async with controlled(tmp_path) as c:
        hold = asyncio.Event()
        concepts = '{"concepts": [{"definition": "a"}]}'
        c.engine.answers[TASKS["concept"]] = Answer([concepts], hold_token={0: hold})
        c.engine.answers[TASKS["naming"]] = Answer(['"x"'])
        asking = asyncio.create_task(c.stack.chat(model="concept-naming"))
        await c.engine.until(lambda: c.engine.active == 1)
        await c.state("draining")
        await c.control.until_reported(lambda report: report.version == c.version and report.in_flight == 2)
        assert (await c.stack.chat()).status_code == 503
        hold.set()
        answer = await asking
        assert answer.status_code == 200, answer.text
        await c.control.until_reported(lambda report: report.in_flight == 0)


async def test_engine_that_stops_draining_is_the_same_again(tmp_path: Path) -> None:
    async with controlled(tmp_path) as c:
        await c.stack.chat()
        connections, replica = c.engine.connections, c.replica()
        await c.state("draining")
        await c.state("ready")
        assert c.replica() is replica
        await c.stack.chat()
        assert c.engine.connections == connections


async def test_engine_that_was_restarted_gets_new_connections(tmp_path: Path) -> None:
    async with controlled(tmp_path) as c:
        hold = asyncio.Event()
        c.engine.answers["base"] = Answer(["a", "b"], hold_token={1: hold})
        begun = asyncio.create_task(c.stack.chat(model="base", stream=True))
        await c.engine.until(lambda: c.engine.active == 1)
        before = c.replica()
        before.failed()
        await c.state("ready", started_at=2.0, pid=2)
        assert c.replica() is not before
        assert c.replica().failures == 0
        assert says(await c.stack.chat()) == TASKS["naming"]
        hold.set()
        assert (await begun).text.endswith("data: [DONE]\n\n")
        await c.stack.at_rest()


@pytest.mark.usefixtures("both_ways")
async def test_engines_that_come_and_go_lose_no_request(tmp_path: Path) -> None:
    async with two(tmp_path) as t:
        over = False
        statuses: Counter[int] = Counter()

        async def ask(number: int) -> None:
            while not over:
                answer = await t.c.stack.chat(model=("naming", "base")[number % 2], stream=number % 3 == 0)
                says(answer)
                statuses[answer.status_code] += 1

        states: tuple[EngineStateName, ...] = ("ready", "draining", "stopped", "starting")
        async with asyncio.TaskGroup() as asking:
            for number in range(6):
                asking.create_task(ask(number))
            for number in range(40):
                away = states[number % 4]
                pair = (away, "ready") if number % 8 < 4 else ("ready", away)
                await t.c.tell(t.engines(*pair), TWO_TASKS)  # type: ignore[arg-type]  # one of the states
            over = True
        assert set(statuses) == {200}
        assert min(t.counts) > 5
