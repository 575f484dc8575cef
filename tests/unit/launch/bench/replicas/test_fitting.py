"""A simulated engine's figures from times that follow a known law."""

from __future__ import annotations

import pytest

from launch.bench.replicas.calibration import Calibration
from launch.bench.replicas.fitting import adapter_s, curve_of, fitted, prompt_line, slower

BATCHES = ((1, 1), (4, 1), (4, 4), (16, 4))


def step_s(requests: int, adapters: int) -> float:
    """Flat to four requests, then 2 ms for each; 3 ms an adapter."""
    return 0.03 + 0.002 * max(0, requests - 4) + 0.003 * adapters


def seen(times: float = 1.0) -> Calibration:
    steps = {batch: times * step_s(*batch) for batch in BATCHES}
    first_s = {tokens: 0.012 + step_s(1, 1) + tokens / 800 for tokens in (8, 64, 192)}
    return Calibration(steps, first_s, 0.09)


def test_every_figure_is_found_again() -> None:
    found = fitted(seen(), seen(1.3), seats=16, slots=4)
    assert found.step_s_per_adapter == pytest.approx(0.003)
    assert found.prompt_tokens_per_s == pytest.approx(800)
    assert found.answer_s == pytest.approx(0.012)
    assert (found.load_s, found.seats, found.slots) == (0.09, 16, 4)
    assert found.together == pytest.approx(1.3)
    for requests, adapters in BATCHES:
        assert found.decode_s(requests, adapters) == pytest.approx(step_s(requests, adapters))


def test_a_larger_batch_is_never_quicker() -> None:
    assert curve_of({(1, 1): 0.03, (2, 1): 0.029, (4, 1): 0.05}, 0.0) == ((1, 0.03), (2, 0.03), (4, 0.05))


def test_without_batches_of_one_size_an_adapter_costs_nothing_more() -> None:
    assert adapter_s({(1, 1): 0.03, (4, 4): 0.05}) == 0.0
    assert adapter_s({(4, 1): 0.05, (4, 4): 0.04}) == 0.0


def test_prompts_lost_in_the_noise_cost_nothing() -> None:
    slope, intercept = prompt_line({8: 0.1, 64: 0.09})
    assert slope < 1e-6
    assert intercept == pytest.approx(0.095)


def test_engines_together_are_never_quicker_than_one() -> None:
    assert slower({(1, 1): 0.03}, {(1, 1): 0.02}) == 1.0
    assert fitted(seen(), None, seats=1, slots=1).together == 1.0
