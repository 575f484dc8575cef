"""Ready means proven."""

from __future__ import annotations

from collections import Counter

import pytest

from gateway.errors import ConfigError, EngineFailure
from launch.proof import Canary, Subject, prove_adapter, prove_mixed, read_canary

BASE, NAMING = Canary(("a", "b"), (-0.5, -1.0)), Canary(("c",), (-3.0,))
SUBJECT = Subject("tasks.naming.adapter", "/b", "naming@1", "Name it.")


class Engine:
    """Answers by model and system prompt; `noise` moves every second answer of each model."""

    def __init__(self, answers: dict[tuple[str, str], Canary], noise: float = 0.0) -> None:
        self.answers = answers
        self.noise = noise
        self.asked: Counter[str] = Counter()

    def __call__(self, model: str, system: str) -> Canary:
        found = self.answers.get((model, system)) or self.answers[model, ""]
        self.asked[model] += 1
        shift = self.noise * (self.asked[model] % 2)
        return Canary(found.tokens, tuple(value + shift for value in found.logprobs))


def test_adapter_that_acts_is_proven() -> None:
    engine = Engine({("base", ""): BASE, ("naming@1", ""): NAMING})
    assert prove_adapter(engine, "base", SUBJECT, None) == NAMING


def test_small_effect_counts_where_nothing_else_moves() -> None:
    slightly = Canary(BASE.tokens, (-0.501, -1.0))
    engine = Engine({("base", ""): BASE, ("naming@1", ""): slightly})
    assert prove_adapter(engine, "base", SUBJECT, None) == slightly


def test_adapter_that_acts_under_its_system_prompt_alone_is_proven() -> None:
    engine = Engine({("base", ""): BASE, ("naming@1", ""): BASE, ("naming@1", "Name it."): NAMING})
    assert prove_adapter(engine, "base", SUBJECT, None) == BASE


@pytest.mark.parametrize("noise", [0.0, 0.05])
def test_adapter_without_effect_is_found_under_traffic_too(noise: float) -> None:
    engine = Engine({("base", ""): BASE, ("naming@1", ""): BASE}, noise)
    with pytest.raises(ConfigError, match=r"tasks\.naming\.adapter: /b: has no effect"):
        prove_adapter(engine, "base", SUBJECT, None)


def test_other_weights_under_the_id_are_found() -> None:
    engine = Engine({("base", ""): BASE, ("naming@1", ""): NAMING})
    with pytest.raises(EngineFailure, match="does not answer as it did"):
        prove_adapter(engine, "base", SUBJECT, Canary(("d",), (-1.0,)))
    rounded = Canary(NAMING.tokens, (-3.04,))
    assert prove_adapter(engine, "base", SUBJECT, rounded) == NAMING


def test_mixed_batch_where_the_base_answers_as_an_adapter_fails() -> None:
    mixed = Engine({("base", ""): NAMING, ("naming@1", ""): NAMING})
    with pytest.raises(EngineFailure, match="in a mixed batch base answers as naming@1 does"):
        prove_mixed(mixed, {"base": BASE, "naming@1": NAMING})


def test_mixed_batch_may_round_otherwise() -> None:
    noisy = Engine({("base", ""): Canary(("a", "d"), (-0.52, -1.03)), ("naming@1", ""): NAMING})
    prove_mixed(noisy, {"base": BASE, "naming@1": NAMING})


def test_other_tokens_that_happen_to_be_as_likely_are_not_the_same_answer() -> None:
    other = Canary(("x", "y"), (-0.52, -1.0))
    assert other.distance(BASE) < 0.1
    assert not other.agrees(BASE)
    with pytest.raises(EngineFailure, match="base answers as other@1 does"):
        prove_mixed(Engine({("base", ""): other, ("other@1", ""): other}), {"base": BASE, "other@1": other})
    unlike_all = Engine({("base", ""): BASE, ("naming@1", ""): other})
    prove_mixed(unlike_all, {"base": BASE, "naming@1": NAMING})


def test_canary_is_read_from_a_completion() -> None:
    answer = {"choices": [{"logprobs": {"tokens": ["a"], "token_logprobs": [-0.5]}}]}
    assert read_canary("base", answer) == Canary(("a",), (-0.5,))
    broken_ones: list[object] = [{}, {"choices": []}, {"choices": [{"logprobs": None}]}, []]
    for broken in broken_ones:
        with pytest.raises(EngineFailure, match="first completion is empty"):
            read_canary("base", broken)


def test_answer_of_another_model_is_no_proof() -> None:
    answer = {"model": "base", "choices": [{"logprobs": {"tokens": ["a"], "token_logprobs": [-0.5]}}]}
    with pytest.raises(EngineFailure, match="answered as base"):
        read_canary("naming@1", answer)


def test_canary_survives_being_kept() -> None:
    assert Canary.from_json(BASE.to_json()) == BASE
    assert BASE.fingerprint != NAMING.fingerprint
