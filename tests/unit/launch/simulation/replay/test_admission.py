"""The gateway's own admission before simulated engines, held against what follows from its rules."""

from __future__ import annotations

import pytest

from launch.simulation.engine import SimulatedEngine
from launch.simulation.replay.admission import AdmittedEngines
from launch.simulation.replay.jumping_loop import run_jumping
from launch.simulation.request import Request
from tests.unit.launch.simulation.test_engine_speed import speed

NAMES = ["a", "b", "c"]


def served(requests: list[Request], engines: int = 1, **changes: float) -> list[SimulatedEngine]:
    made = [
        SimulatedEngine(f"engine-{number}", speed(**{"load_s": 0.0, **changes})) for number in range(engines)
    ]

    async def serve() -> None:
        await AdmittedEngines(made, NAMES, 0.5, seed=1).serve(requests)

    run_jumping(serve())
    return made


def test_an_adapter_with_a_slot_goes_on_and_another_waits_for_an_end() -> None:
    """One slot: the second adapter waits in the gateway, while the first one's next request goes on."""
    some = [Request(0.0, "a", 0, 101), Request(0.2, "b", 0, 1), Request(0.3, "a", 0, 11)]
    served(some, slots=1, seats=8)
    assert some[2].first_s < some[0].end_s
    assert some[1].first_s == pytest.approx(some[0].end_s + 0.01)


def test_an_adapter_that_had_its_turn_lets_the_others_on() -> None:
    """Eight requests of one adapter are a turn, once another waits."""
    hot = [Request(0.1 * number, "a", 0, 101) for number in range(40)]
    other = Request(0.005, "b", 0, 1)
    served([hot[0], other, *hot[1:]], slots=1, seats=64)
    late = [one for one in hot if one.first_s > other.first_s]
    assert len(hot) - len(late) == 9  # the first, and eight while the other waited
    assert late


def test_an_engine_is_given_what_it_has_seats_for_and_a_few() -> None:
    """What is beyond waits in the gateway, where a task that asks little has its turn before the flood."""
    flood = [Request(0.0, "a", 0, 201) for _ in range(40)]
    other = Request(5.0, "b", 0, 1)
    served([*flood, other], slots=3, seats=4)
    before = sum(one.first_s < other.first_s for one in flood)
    assert before < 20  # first come first served it would be all 40


@pytest.mark.parametrize("slots", [2, 3])
def test_each_engine_takes_its_part(slots: int) -> None:
    some = [Request(0.05 * number, NAMES[number % 3], 0, 21) for number in range(60)]
    made = served(some, engines=2, slots=slots, seats=4)
    assert all(one.end_s > one.first_s > one.at_s for one in some)
    assert [one.in_flight for one in made] == [0, 0]
    assert all(one.loads for one in made)


def test_one_that_is_refused_has_no_first_token() -> None:
    """A minute is the longest that a place is waited for."""
    some = [Request(0.0, "a", 0, 100_000), Request(0.1, "a", 0, 1), Request(0.2, "b", 0, 1)]
    served(some, slots=1, seats=1)
    assert some[2].first_s < 0
    assert some[0].end_s > 0
