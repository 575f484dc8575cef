"""What is asked of an engine, and what is read in its answer."""

from __future__ import annotations

import math

import pytest

from gateway.errors import EngineFailure
from launch.engine.scoring import ProofScores, Score, distance, read_score

WRITTEN = {"token_logprobs": [-0.5, -1.0]}
PROMPT = [None, {"17": {"logprob": -2.0, "rank": 3}}, {"9": {"logprob": -4.5, "rank": 1}}]


def answer(**fields: object) -> dict[str, object]:
    return {"model": "base", "choices": [{"logprobs": WRITTEN, "prompt_logprobs": PROMPT, **fields}]}


def test_score_is_read_from_a_completion() -> None:
    assert read_score("base", answer(), reads=True) == Score((-2.0, -4.5), (-0.5, -1.0))
    assert read_score("base", answer(prompt_logprobs=None), reads=False) == Score((), (-0.5, -1.0))


def test_what_is_written_tells_models_apart_where_nothing_is_read() -> None:
    assert Score((), (-0.5,)).values == (-0.5,)
    assert Score((-2.0,), (-0.5,)).values == (-2.0,)


@pytest.mark.parametrize(
    "broken",
    [
        {},
        [],
        {"choices": []},
        answer(logprobs=None),
        answer(prompt_logprobs=None),
        answer(prompt_logprobs=[None, {}]),
        answer(logprobs={"token_logprobs": [math.nan]}),
    ],
)
def test_completion_without_numbers_is_no_score(broken: object) -> None:
    with pytest.raises(EngineFailure, match=r"^base: the engine's"):
        read_score("base", broken, reads=True)


def test_answer_of_another_model_is_no_proof() -> None:
    with pytest.raises(EngineFailure, match="answered as base"):
        read_score("naming@1", answer(), reads=True)


def test_distance_is_the_root_of_the_mean_square() -> None:
    assert distance((0.0, 0.0), (3.0, 3.0)) == pytest.approx(3.0)
    assert distance((0.0,), (0.0, 1.0)) == distance((), ()) == math.inf


def test_what_is_kept_comes_back_to_the_digit() -> None:
    kept = ProofScores(Score((-1 / 3,), (-0.1,)), Score((-2.0,), ()), 0.25)
    assert ProofScores.from_json(kept.to_json()) == kept
    assert len(kept.fingerprint) == 12


def test_answers_that_an_earlier_release_kept_are_unknown() -> None:
    assert ProofScores.from_json('{"tokens": [" a"], "logprobs": [-0.5]}') is None
