"""What is asked of an engine, and what is read in its answer."""

from __future__ import annotations

import json
import math

import pytest

from gateway.errors import EngineFailure
from launch.engine.scoring import (
    OPENING,
    READ,
    TEXT,
    WRITTEN_ALONE,
    ProofScores,
    Score,
    asker,
    distance,
    read_score,
)
from launch.engine.scoring import WRITTEN as WRITTEN_TOKENS

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


def test_what_was_written_behind_another_prompt_is_left_out() -> None:
    kept = ProofScores(Score((-2.0,), (-0.1,)), Score((-3.0,), ()), 0.0)
    earlier = json.dumps(
        {name: value for name, value in json.loads(kept.to_json()).items() if name != "behind"}
    )
    assert ProofScores.from_json(earlier) == kept.unwritten()
    alone = ProofScores(Score((), (-0.1,)), Score((), (-0.2,)), 0.0)  # no text was read
    earlier = json.dumps(
        {name: value for name, value in json.loads(alone.to_json()).items() if name != "behind"}
    )
    assert ProofScores.from_json(earlier) == alone


class Asked:
    """Whatever is asked, kept; each answer has a text of two tokens where that is scored."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.bodies: list[dict[str, object]] = []
        monkeypatch.setattr("launch.engine.scoring.call", self._call)

    def _call(self, url: str, body: dict[str, object], *, key: str) -> object:
        self.bodies.append(body)
        return answer(prompt_logprobs=PROMPT if "prompt_logprobs" in body else None)


def test_a_model_reads_the_text_or_writes_behind_a_short_prompt(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = Asked(monkeypatch)
    ask = asker("http://engine", reads=True)
    assert ask("base", "Name it.", READ) == Score((-2.0, -4.5), ())
    assert ask("base", "", WRITTEN_TOKENS) == Score((), (-0.5, -1.0))
    reads, writes = asked.bodies
    assert reads["prompt"] == f"Name it.\n{TEXT}"
    assert (reads["max_tokens"], writes["max_tokens"]) == (READ, WRITTEN_TOKENS)
    assert writes["prompt"] == OPENING


def test_where_nothing_may_be_read_a_model_always_writes_behind_the_text(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = Asked(monkeypatch)
    ask = asker("http://engine", reads=False)
    assert {ask("base", "", written) for written in (READ, WRITTEN_TOKENS)} == {Score((), (-0.5, -1.0))}
    assert {(body["prompt"], body["max_tokens"]) for body in asked.bodies} == {(TEXT, WRITTEN_ALONE)}
