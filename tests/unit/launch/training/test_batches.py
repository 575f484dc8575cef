"""The order of training: what is held out, batches, the rate of learning."""

from __future__ import annotations

import random

import pytest

from launch.training.batches import Sample, batches_by_length, learning_rate


def test_learning_rate_warms_up_and_ends_low() -> None:
    rates = [learning_rate(step / 100, 1.0) for step in range(101)]
    assert rates[0] < 0.1
    assert max(rates) == pytest.approx(1.0, abs=0.01)
    assert rates[-1] == pytest.approx(0.03)
    assert rates[10:] == sorted(rates[10:], reverse=True)


def test_batches_hold_samples_of_like_length_and_each_once() -> None:
    rng = random.Random(0)
    samples = [Sample([at] * rng.randint(1, 90), 1) for at in range(80)]
    batches = list(batches_by_length(iter(samples), 4))
    assert sorted(sample.ids[0] for batch in batches for sample in batch) == list(range(80))
    assert all(len(batch) == 4 for batch in batches)
    spread = [max(len(s.ids) for s in batch) - min(len(s.ids) for s in batch) for batch in batches]
    assert sum(spread) / len(spread) < 25
