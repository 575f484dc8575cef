"""An engine asked for its speed: what is sent, and what is made of the times."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest

from gateway.errors import EngineFailure
from launch.bench.replicas.calibration import (
    Calibrator,
    EngineProbe,
    Probes,
    Prompted,
    completion_body,
)
from tests.fakes.fake_engine import Answer, FakeEngine

pytestmark = pytest.mark.anyio


def test_a_body_asks_for_a_stream_of_so_many_tokens_after_a_prompt_of_its_own() -> None:
    chance = random.Random(1)
    one, other = (json.loads(completion_body("a@1", chance, 30, 12)) for _ in range(2))
    assert (one["model"], one["max_tokens"], one["stream"], one["ignore_eos"]) == ("a@1", 12, True, True)
    assert len(one["prompt"]) == 30
    assert one["prompt"] != other["prompt"]


class Engine(EngineProbe):
    """Whose times are known: a slot for each of the last four adapters, 0.1 s a load, 1 ms a prompt token."""

    def __init__(self) -> None:
        super().__init__("http://nowhere", "", [], "")
        self.slots: list[int] = []
        self.busy = 0
        self.fresh = False

    async def step_s(self, requests: int, adapters: int, tokens: int) -> float:
        fresh, self.fresh = self.fresh and tokens == 8, False
        return 0.02 + 0.001 * requests + 0.002 * adapters + (0.16 / 7 if fresh else 0.0)

    async def prompted(self, prompt_tokens: int, adapter: int = 0, tokens: int = 2) -> Prompted:
        loaded = adapter in self.slots
        self.fresh = not loaded
        self.slots = [*(one for one in self.slots if one != adapter), adapter][-4:]
        took_s = 0.03 + 0.001 * prompt_tokens + (0.0 if loaded else 0.1) + 0.01 * self.busy
        after_a_prompt_s = 0.03 + 0.02 * (tokens - 2)
        return Prompted(prompt_tokens, took_s, after_a_prompt_s / (tokens - 1))

    @asynccontextmanager
    async def kept_busy(self, requests: int, adapter: int = 0, *_: int) -> AsyncIterator[None]:
        self.busy = requests
        yield
        self.busy = 0


def beyond(found: Sequence[Prompted]) -> set[float]:
    return {round(one.first_s - 0.001 * one.prompt_tokens, 9) for one in found}


async def test_steps_prompts_and_loads_are_told_apart() -> None:
    asked = Probes(batches=((1, 1), (4, 4)), prompts=5, pause_s=0.0)
    calibrator = Calibrator(Engine(), asked, 4, 8, "seed")
    await calibrator.run()
    await calibrator.run()
    found = calibrator.result
    assert found.step_s == {(1, 1): pytest.approx(0.023), (4, 4): pytest.approx(0.032)}
    assert [len(one) for one in (found.alone, found.joined, found.loaded)] == [10, 10, 16]
    assert beyond(found.alone) == {0.03}
    assert beyond(found.joined) == {0.04}
    assert beyond(found.loaded) == {0.13}
    assert [one.step_s for one in found.alone] == pytest.approx([0.15 / 7] * 10), "of seven steps"
    assert [adapters for adapters, _ in found.packed] == [4, 4]
    assert [took_s for _, took_s in found.packed] == pytest.approx([0.16, 0.16])
    assert len({tokens for tokens, *_ in found.alone}) > 5, "a second run asks for other lengths"


async def test_without_more_adapters_than_slots_nothing_is_loaded() -> None:
    calibrator = Calibrator(Engine(), Probes(batches=((1, 1),), prompts=1, pause_s=0.0), 4, 4, "seed")
    await calibrator.run()
    assert (calibrator.result.loaded, calibrator.result.packed) == ([], [])


async def asked_of(engine: FakeEngine, adapters: Sequence[str]) -> EngineProbe:
    return EngineProbe(await engine.start(), "the key", adapters, "seed")


async def test_a_batch_is_asked_at_once_on_so_many_adapters() -> None:
    engine = FakeEngine()
    try:
        hold = asyncio.Event()
        tokens = [str(number) for number in range(24)]
        names = ["a@1", "b@1", "c@1"]
        engine.answers = {name: Answer(tokens=tokens, hold_token={0: hold}) for name in names}
        probe = await asked_of(engine, names)
        asking = asyncio.create_task(probe.step_s(5, 2, 24))
        await engine.until(lambda: len(engine.completions) == 5)
        hold.set()
        assert await asking > 0
        asked = Counter(request.json["model"] for request in engine.completions)
        assert asked == {"a@1": 3, "b@1": 2}
        assert {request.headers["authorization"] for request in engine.completions} == {"Bearer the key"}
    finally:
        await engine.stop()


async def test_an_engine_is_kept_busy_until_the_end_of_that() -> None:
    engine = FakeEngine()
    try:
        engine.answers = {"a@1": Answer(tokens=["x"])}
        probe = await asked_of(engine, ["a@1"])
        async with probe.kept_busy(2):
            asked = len(engine.completions)
            assert asked >= 3  # two, and the one that came after them
            await engine.until(lambda: len(engine.completions) > asked + 4)
        asked = len(engine.completions)
        await probe.prompted(8)
        assert len(engine.completions) == asked + 1
    finally:
        await engine.stop()


async def test_a_prompts_step_is_that_of_all_its_tokens() -> None:
    engine = FakeEngine()
    try:
        second, rest = asyncio.Event(), asyncio.Event()
        tokens = [str(number) for number in range(8)]
        engine.answers = {"a@1": Answer(tokens=tokens, hold_token={1: second, 2: rest})}
        probe = await asked_of(engine, ["a@1"])
        began = time.perf_counter()
        asking = asyncio.create_task(probe.prompted(12, tokens=8))
        await engine.until(lambda: len(engine.completions) == 1)
        second.set()
        rest.set()
        found = await asking
        assert engine.completions[0].json["max_tokens"] == 8
        prompt = engine.completions[0].json["prompt"]
        assert isinstance(prompt, list)
        assert len(prompt) == found.prompt_tokens == 12
        assert 0 < found.first_s + 7 * found.step_s <= time.perf_counter() - began
    finally:
        await engine.stop()


async def test_an_engine_that_refuses_is_not_kept_busy() -> None:
    engine = FakeEngine()
    try:
        engine.answers = {"a@1": Answer(status=404, body=b"{}")}
        probe = await asked_of(engine, ["a@1"])
        with pytest.raises(EngineFailure, match="status 404"):
            async with probe.kept_busy(1):
                raise AssertionError("it is not busy")
    finally:
        await engine.stop()


async def test_a_refusal_says_where_and_why() -> None:
    engine = FakeEngine()
    try:
        engine.answers = {"a@1": Answer(status=404, body=b'{"error": "no such model"}')}
        probe = await asked_of(engine, ["a@1"])
        with pytest.raises(EngineFailure, match=r"status 404, .*no such model"):
            await probe.prompted(8)
    finally:
        await engine.stop()
