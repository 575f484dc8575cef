"""Requests at their times through a gateway, and the loads that it counts."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from gateway.errors import EngineFailure
from launch.bench.engine.config import KEY
from launch.bench.engine.stack import Running
from launch.bench.overload.load import LEFT, Outcome
from launch.bench.replicas.open_run import (
    SimulatorPlan,
    asked,
    capacity_per_s,
    check,
    loads_of,
    seen,
)
from tests.fakes.http_server import Handler, serving

PLAN = SimulatorPlan(adapters=3, window_s=1.0, warm_up_s=0.0, capacity_s=0.2)


def running(url: str) -> Running:
    adapters = {f"made-{number}": f"made-{number}@1" for number in range(PLAN.adapters)}
    return Running(url, url, 0, "base", adapters, 1.0, Path("log"))


def test_the_same_seed_asks_the_same() -> None:
    def told(seed: str) -> list[tuple[float, str, int, int]]:
        return [
            (one.at_s, one.adapter, one.prompt_tokens, one.output_tokens) for one in asked(PLAN, 40.0, seed)
        ]

    assert told("0") == told("0") != told("1")
    assert {adapter for _, adapter, _, _ in told("0")} == {f"task-{number:05d}" for number in (1, 2, 3)}


def test_a_run_with_a_failure_says_nothing() -> None:
    good, left = Outcome("0", 200, 0.0, 0.1, 0.2), Outcome("1", LEFT, 0.0, 0.0, 60.0)
    check([good])
    check([good, good, left], allowed=0.4)
    for outcomes in ([good, left], []):
        with pytest.raises(EngineFailure, match="requests failed"):
            check(outcomes)


class Server(Handler):
    """A gateway that answers each at once and has counted five loads."""

    asked: list[dict[str, object]] = []

    def do_GET(self) -> None:
        self._say(
            "# TYPE lora_gateway_slot_loads_total counter\n"
            'lora_gateway_slot_loads_total{adapter="a",reason="first_use"} 2.0\n'
            'lora_gateway_slot_loads_total{adapter="a",reason="evicted"} 3.0\n'
            'lora_gateway_slot_loads_created{adapter="a",reason="evicted"} 1.7e9\n'
        )

    def do_POST(self) -> None:
        self.asked.append(json.loads(self.body()))
        self._say('data: {"choices": []}\n\ndata: [DONE]\n\n')

    def _say(self, text: str) -> None:
        assert self.headers["authorization"] == f"Bearer {KEY}"
        self.answer(text.encode(), content_type="text/plain")


@pytest.fixture
def stack() -> Iterator[Running]:
    Server.asked = []
    with serving(Server) as url:
        yield running(url)


def test_each_request_is_sent_as_it_was_drawn_and_its_first_token_kept(stack: Running) -> None:
    requests = asked(replace(PLAN, window_s=0.3), 60.0, "0")
    first_s, loads = seen(stack, PLAN, requests)
    settled, asked_of = Server.asked[:3], Server.asked[3:]
    assert [one["model"] for one in settled] == ["made-2", "made-1", "made-0"]
    assert len(first_s) == len(requests) == len(asked_of)
    assert all(wait_s > 0 for wait_s in first_s)
    assert loads == 0  # as many before as after
    assert Counter(one["max_tokens"] for one in asked_of) == Counter(one.output_tokens for one in requests)
    assert {one["model"] for one in asked_of} == {"made-0", "made-1", "made-2"}
    assert loads_of(stack) == 5.0


def test_the_same_requests_once_more_have_other_prompts(stack: Running) -> None:
    requests = asked(replace(PLAN, window_s=0.3), 60.0, "0")
    prompts: list[list[object]] = []
    for turn in (0, 1, 1):
        Server.asked = []
        seen(stack, PLAN, requests, turn)
        asked_for = sorted(Server.asked[PLAN.adapters :], key=lambda one: str(one["prompt"]))
        prompts.append([one["prompt"] for one in asked_for])
    assert prompts[1] == prompts[2]
    assert not [one for one in prompts[0] if one in prompts[1]]


def test_the_most_that_is_answered_is_asked_by_as_many_clients_as_seats(stack: Running) -> None:
    assert capacity_per_s(stack, PLAN, 1) > 0
    assert all(one["stream"] for one in Server.asked)
