"""Requests at their own times through a gateway on real engines, for many adapters: what became of each."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field

import uvloop
from prometheus_client.parser import text_string_to_metric_families

from gateway.errors import EngineFailure
from launch.bench.engine.config import KEY
from launch.bench.engine.stack import Running
from launch.bench.faults.slots import MOST_SEQUENCES
from launch.bench.overload.load import Asking, Body, OpenLoop, Outcome
from launch.bench.replicas.calibration import PATH, SHORT, EngineProbe, Probes, completion_body
from launch.engine.http import ask, with_key
from launch.simulation.arrivals import OfferedLoad, Zipf, requests_of
from launch.simulation.request import Request

PATIENCE_S = 60.0
MAY_FAIL = 0.05
"""Of a window's requests; one that did counts as if its first token had come after the patience."""
SLOT_LOADS = "lora_gateway_slot_loads_total"


@dataclass(frozen=True)
class SimulatorPlan:
    """How the engines are asked, at which loads and for how long."""

    adapters: int = 6
    loads: tuple[float, ...] = (0.3, 0.6, 0.9)
    """Of the requests a second that are answered where clients wait for one another."""
    window_s: float = 28.0
    warm_up_s: float = 4.0
    """Of each window, what is not counted."""
    capacity_s: float = 8.0
    prompt_tokens: int = 48
    output_tokens: int = 24
    """On average, by an exponential law."""
    slo_s: float = 1.0
    rounds: int = 1
    """Of each window, with the same requests: no twin can be nearer than an engine is to itself."""
    probes: Probes = field(default_factory=Probes)


@dataclass(frozen=True)
class TwinVisit:
    """One window at one load."""

    round: int
    engines: int
    load: float
    requests: Sequence[Request]
    first_s: Sequence[float]
    """From when each came to its first token; its patience where that did not come."""
    loads: float


def asked(plan: SimulatorPlan, per_s: float, seed: str) -> list[Request]:
    """What comes in one window, and for whom."""
    load = OfferedLoad("poisson", per_s, plan.window_s, plan.prompt_tokens, plan.output_tokens)
    return requests_of(load, Zipf(plan.adapters), random.Random(seed).randrange(2**31))


def capacity_per_s(stack: Running, plan: SimulatorPlan, engines: int) -> float:
    """Answers a second to as many clients as there are seats, each of whom waits. Raises EngineFailure."""
    tasks, popularity = list(stack.adapters), Zipf(plan.adapters)
    names = dict(zip(popularity.names, tasks, strict=True))

    def body(chance: random.Random) -> bytes:
        lengths = (1 + int(chance.expovariate(1 / mean)) for mean in (plan.prompt_tokens, plan.output_tokens))
        return completion_body(names[popularity.draw(chance)], chance, *lengths)

    loop = OpenLoop(stack.gateway_url + PATH, PATIENCE_S)
    clients = MOST_SEQUENCES * engines
    outcomes = uvloop.run(
        loop.closed(Asking("all", with_key(KEY), body, 0.0), clients, plan.capacity_s, f"capacity-{engines}")
    )
    check(outcomes)
    return sum(one.due_s + one.ended_s <= plan.capacity_s for one in outcomes) / plan.capacity_s


def settling(plan: SimulatorPlan) -> list[str]:
    """The order in which each adapter is asked for before a window, so that it is known who has the slots."""
    return list(reversed(Zipf(plan.adapters).names))


async def settle(stack: Running, plan: SimulatorPlan) -> None:
    """One after the other. Raises EngineFailure."""
    names = dict(zip(Zipf(plan.adapters).names, stack.adapters, strict=True))
    probe = EngineProbe(stack.gateway_url, KEY, [names[each] for each in settling(plan)], "settle")
    for number in range(plan.adapters):
        await probe.prompted(SHORT, number)


def seen(
    stack: Running, plan: SimulatorPlan, requests: Sequence[Request], turn: int = 0
) -> tuple[list[float], float]:
    """What became of them on the real engines: first tokens, and loads into slots. Raises EngineFailure.

    Each `turn` has prompts of its own: an engine would find those of the one before in its cache.
    """
    names = dict(zip(Zipf(plan.adapters).names, stack.adapters, strict=True))
    uvloop.run(settle(stack, plan))
    chance = random.Random(f"{turn}-{len(requests)}")
    due = []
    for number, one in enumerate(requests):
        body = completion_body(names[one.adapter], chance, one.prompt_tokens, one.output_tokens)
        due.append((one.at_s, Asking(str(number), with_key(KEY), _always(body), 0.0), chance))
    before = loads_of(stack)
    outcomes = uvloop.run(OpenLoop(stack.gateway_url + PATH, PATIENCE_S).replay(due))
    check(outcomes, MAY_FAIL)
    waits = {int(one.name): one.first_s if one.status == 200 else PATIENCE_S for one in outcomes}
    return [waits[number] for number in range(len(requests))], loads_of(stack) - before


def loads_of(stack: Running) -> float:
    """Adapters that took a slot, as far as the gateway has counted. Raises EngineFailure."""
    text = ask(f"{stack.gateway_url}/metrics", headers=with_key(KEY)).text
    return sum(
        sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == SLOT_LOADS
    )


def check(outcomes: Sequence[Outcome], allowed: float = 0.0) -> None:
    """Raises EngineFailure where a larger share was refused, broke or waited too long: it says nothing."""
    statuses = [one.status for one in outcomes if one.status != 200]
    if len(statuses) > allowed * len(outcomes) or not outcomes:
        raise EngineFailure(f"{len(statuses)} of {len(outcomes)} requests failed, by {set(statuses)}")


def _always(body: bytes) -> Body:
    return lambda _: body
