"""`bench pipeline`: what a run through the gateway took, and that each way of asking begins in turn."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from gateway.errors import EngineFailure
from launch.base.steps import Steps
from launch.bench.pipeline import pipeline
from launch.bench.pipeline.by_hand import Timing
from launch.bench.pipeline.inputs import held_to, terms_for, two_stages
from launch.bench.pipeline.prefix_cache import PrefixCache
from launch.bench.pipeline.report import ARMS, PipelineRun
from launch.training.evaluate import read_held_out
from tests.unit.launch.bench.engine.test_config import demo_config

TOOK = Timing(total_s=3.0, first_s=2.0, last_s=0.5, elements=3, first_tokens=90, each_tokens=9)
STAGES = [
    {"start_ms": 10.0, "ms": 2000.0, "completion_tokens": 90, "calls": 1},
    {"start_ms": 500.0, "ms": 1700.0, "completion_tokens": 27, "calls": 3},
]


@dataclass
class Client:
    """Answers as the gateway does."""

    usage: dict[str, object] | None
    asked: list[dict[str, Any]]

    @property
    def chat(self) -> SimpleNamespace:
        return SimpleNamespace(completions=SimpleNamespace(create=self._create))

    async def _create(self, **fields: Any) -> SimpleNamespace:
        self.asked.append(fields)
        usage = None if self.usage is None else SimpleNamespace(model_dump=lambda: self.usage)
        return SimpleNamespace(usage=usage)


def through(usage: dict[str, object] | None) -> tuple[Timing, dict[str, Any]]:
    stages, client = two_stages(demo_config(), "concept-naming"), Client(usage, [])
    terms = terms_for(read_held_out("concept", None), 3)
    taken = asyncio.run(pipeline.through_gateway(client, stages, terms, "salt"))  # type: ignore[arg-type]
    return taken, client.asked[0]


def test_a_runs_times_are_the_gateways_own() -> None:
    taken, asked = through({"stages": STAGES})
    assert (asked["model"], asked["extra_body"]) == ("concept-naming", {"cache_salt": "salt"})
    assert (taken.first_s, taken.elements, taken.first_tokens, taken.each_tokens) == (2.0, 3, 90, 27)
    assert taken.last_s == pytest.approx(taken.total_s - 2.01)


@pytest.mark.parametrize("usage", [None, {"total_tokens": 3}, {"stages": STAGES[:1]}])
def test_an_answer_that_does_not_say_what_its_stages_took_is_no_measurement(
    usage: dict[str, object] | None,
) -> None:
    with pytest.raises(EngineFailure, match="does not say what its stages took"):
        through(usage)


class ByHand:
    """Both stages on the engine, noted."""

    asked: list[tuple[tuple[str, str], str, str]]

    def __init__(self, client: object, config: object, stages: object, terms: object, models: Any) -> None:
        self._models, self._terms = models, str(terms)

    async def warm_up(self, salt: str) -> None:
        self.asked.append((self._models, self._terms, salt))

    async def sequential(self, salt: str) -> Timing:
        self.asked.append((self._models, self._terms, salt))
        return TOOK

    fan_out = sequential


def test_each_way_is_visited_once_a_round_and_each_begins_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    async def gateway(client: object, stages: object, terms: object, salt: str) -> Timing:
        return TOOK

    ByHand.asked = []
    monkeypatch.setattr(pipeline, "through_gateway", gateway)
    monkeypatch.setattr(pipeline, "ByHand", ByHand)
    looks = count()

    def read(url: str, key: str) -> PrefixCache:
        assert url == "http://e"
        seen = next(looks)
        return PrefixCache(10.0 * seen, 2.0 * seen)

    monkeypatch.setattr(pipeline, "read", read)
    given = demo_config()
    stages = two_stages(given, "concept-naming")
    stack: Any = SimpleNamespace(
        engine_url="http://e", gateway_url="http://g", adapters={stages.first.task: f"{stages.first.task}@1"}
    )
    ways = {count: pipeline.ways_of(held_to(stages, given, count)) for count in (3, 8)}
    terms: Any = {count: [f"terms {count} {number}" for number in range(3)] for count in ways}
    runs = asyncio.run(pipeline.run_rounds(stack, given, ways, terms, 3, Steps(print)))
    order = [[run.arm for run in runs if (run.round, run.wanted) == (number, 8)] for number in range(3)]
    assert order == [
        ["gateway", "behind", "sequential", "fan-out"],
        ["behind", "sequential", "fan-out", "gateway"],
        ["sequential", "fan-out", "gateway", "behind"],
    ]
    assert {run.wanted for run in runs} == {3, 8}
    assert all(run.cache == PrefixCache(10.0, 2.0) for run in runs)
    by_hand = [one for one in ByHand.asked if one[2] != "warm-up"]
    # No two calls share both a salt and their terms: none is answered from a cache.
    assert len({(terms, salt) for _, terms, salt in by_hand}) == len(by_hand) == 12
    assert {salt for *_, salt in by_hand} == {"sequential-3", "fan-out-3", "sequential-8", "fan-out-8"}
    assert {models for models, *_ in ByHand.asked} == {(f"{stages.first.task}@1", stages.each.task)}


def test_the_ways_through_the_gateway_differ_in_one_default() -> None:
    given = demo_config()
    held = held_to(two_stages(given, "concept-naming"), given, 3)
    ways = pipeline.ways_of(held)
    assert ways["gateway"] is held
    behind = ways["behind"].pipeline.stages
    assert behind[0] is held.first
    assert behind[1].defaults == {**held.each.defaults, "priority": pipeline.LATER}
    assert ways["behind"].name != held.name


def test_everything_is_one_document(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []

    @contextmanager
    def running(config: Any, scratch: Path, key: str) -> Iterator[str]:
        seen.append(config)
        yield "the stack"

    async def rounds(
        stack: str, config: object, held: object, terms: object, count: int, steps: Steps
    ) -> list[Any]:
        return [PipelineRun(0, 3, arm, TOOK, PrefixCache(9, 3)) for arm in ARMS]

    monkeypatch.setattr(pipeline, "running_stack", running)
    monkeypatch.setattr(pipeline, "run_rounds", rounds)
    document: Any = pipeline.measure(demo_config(), "concept-naming", [3], 1, tmp_path)
    assert seen[0].state_dir == tmp_path / "state"
    assert [run["arm"] for run in document["rounds"]] == list(ARMS)
    assert [len(of_round) for of_round in document["terms"]["3"]] == [6]
    assert set(seen[0].pipelines) >= {f"concept-naming-3{way}" for way in ("", "-behind")}
    assert document["pipeline"] == "concept-naming"
    assert set(document["summary"]) == {"3"}
