"""Whose answer is it, whatever a batch's size does to the last digits."""

from __future__ import annotations

from launch.bench.faults.churn_truth import PROMPTS, ExpectedAnswers, learn_answers
from launch.engine.scoring import Score

ROUNDING = 0.1
MODELS = ("base", "red@1", "red@2")


def answers(value: float) -> tuple[Score, ...]:
    return tuple(Score((), (value - prompt, value, value)) for prompt, _ in enumerate(PROMPTS))


def moved(score: Score, by: float) -> Score:
    return Score((), tuple(value + by for value in score.written))


TRUTH = ExpectedAnswers(
    {"base": answers(-1.0), "red@1": answers(-3.0), "red@2": answers(-3.2)},
    "base",
    dict.fromkeys(MODELS, ROUNDING),
)


def test_an_answer_that_rounds_otherwise_is_its_own() -> None:
    for by in (0.0, ROUNDING, 2 * ROUNDING):
        verdict = TRUTH.judge("red@1", 0, moved(TRUTH.alone["red@1"][0], by))
        assert (verdict.what, verdict.nearest) == ("own", "base")


def test_answers_of_others_are_found_though_they_round_otherwise() -> None:
    for by in (0.0, ROUNDING, 2 * ROUNDING):
        assert TRUTH.judge("red@1", 1, moved(TRUTH.alone["base"][1], by)).what == "the base's"
        assert TRUTH.judge("base", 1, moved(TRUTH.alone["red@1"][1], -by)).what == "another's"
    assert TRUTH.judge("red@1", 0, moved(TRUTH.alone["base"][0], -1.0)).what == "nobody's"
    assert TRUTH.judge("blue@1", 0, TRUTH.alone["base"][0]).what == "unknown"


def test_models_that_rounding_could_confuse_are_not_told_apart() -> None:
    assert TRUTH.apart() == (2 / 3, 0)
    alike = ExpectedAnswers(
        {"red@1": answers(-3.0), "red@2": answers(-3.2)}, "base", dict.fromkeys(MODELS, ROUNDING)
    )
    assert alike.judge("red@1", 0, alike.alone["red@2"][0]).what == "untold"


def test_rounding_is_what_a_batch_of_all_models_moves() -> None:
    asked: list[str] = []

    def ask(model: str, prompt: str) -> Score:
        asked.append(model)
        return Score((), (-1.0 - 0.25 * (asked.count(model) > len(PROMPTS) and model == "red@1"),))

    truth = learn_answers(ask, ["base", "red@1"], "base")
    assert truth.rounding == {"base": 0.0, "red@1": 0.25}
    assert asked[:10] == ["base"] * 5 + ["red@1"] * 5
    assert sorted(asked[10:]) == ["base"] * 5 + ["red@1"] * 5
