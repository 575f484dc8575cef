"""A simulated engine's figures from times that follow a known law."""

from __future__ import annotations

import pytest

from launch.bench.replicas.calibration import Calibration, Prompted
from launch.bench.replicas.fitting import adapter_s, beyond, curve_of, fitted, slope_of, slower

BATCHES = ((1, 1), (4, 1), (4, 4), (16, 4))
PROMPTS = (3, 8, 21, 64, 192)
ANSWER_S, WAKE_S, LOAD_S = 0.012, 0.02, 0.09


def step_s(requests: int, adapters: int) -> float:
    """Flat to four requests, then 2 ms for each; 3 ms an adapter."""
    return 0.03 + 0.002 * max(0, requests - 4) + 0.003 * adapters


def seen(times: float = 1.0) -> Calibration:
    def prompts(rest_s: float, took_s: float) -> list[Prompted]:
        return [Prompted(each, times * (rest_s + each / 800), times * took_s) for each in PROMPTS]

    alone_s, joined_s = ANSWER_S + WAKE_S + step_s(1, 1), ANSWER_S + 1.5 * step_s(2, 2)
    steps = {batch: times * step_s(*batch) for batch in BATCHES}
    return Calibration(
        steps,
        prompts(alone_s, step_s(1, 1)),
        prompts(joined_s, step_s(2, 2)),
        prompts(alone_s + LOAD_S, step_s(1, 1)),
        [(4, 0.2), (4, 0.16), (2, 0.06)],
    )


def test_every_figure_is_found_again() -> None:
    found = fitted(seen(), seen(1.3), seats=16, slots=4)
    assert found.step_s_per_adapter == pytest.approx(0.003)
    assert found.prompt_tokens_per_s == pytest.approx(800)
    assert found.answer_s == pytest.approx(ANSWER_S)
    assert found.wake_s == pytest.approx(WAKE_S)
    assert found.load_s == pytest.approx(LOAD_S)
    assert found.pack_s_per_adapter == pytest.approx(0.04)
    assert (found.seats, found.slots) == (16, 4)
    assert found.together == pytest.approx(1.3)
    for requests, adapters in BATCHES:
        assert found.decode_s(requests, adapters) == pytest.approx(step_s(requests, adapters))


def test_without_more_adapters_than_slots_a_load_takes_nothing() -> None:
    known = seen()
    found = fitted(Calibration(known.step_s, known.alone, known.joined, [], []), None, seats=1, slots=1)
    assert (found.load_s, found.pack_s_per_adapter, found.together) == (0.0, 0.0, 1.0)


def test_a_larger_batch_is_never_quicker() -> None:
    assert curve_of({(1, 1): 0.03, (2, 1): 0.029, (4, 1): 0.05}, 0.0) == ((1, 0.03), (2, 0.03), (4, 0.05))


def test_without_batches_of_one_size_an_adapter_costs_nothing_more() -> None:
    assert adapter_s({(1, 1): 0.03, (4, 4): 0.05}) == 0.0
    assert adapter_s({(4, 1): 0.05, (4, 4): 0.04}) == 0.0


def test_prompts_lost_in_the_noise_cost_nothing() -> None:
    assert slope_of([Prompted(8, 0.1, 0.0), Prompted(64, 0.09, 0.0), Prompted(8, 0.096, 0.0)]) < 1e-6
    assert slope_of([Prompted(8, 0.1, 0.0)]) < 1e-6


def test_a_prompt_that_something_held_up_moves_the_line_little() -> None:
    straight = [Prompted(tokens, 0.05 + tokens / 800, 0.04) for tokens in range(1, 100, 9)]
    found = [*straight, Prompted(50, 9.0, 0.04)]
    assert slope_of(found) == pytest.approx(1 / 800)
    assert beyond(found, 1 / 800, 1.0) == pytest.approx(0.01)


def test_an_engine_beside_another_is_never_quicker() -> None:
    assert slower(seen(), seen(0.7)) == 1.0
