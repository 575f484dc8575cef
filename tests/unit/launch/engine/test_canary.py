"""Ready means proven."""

from __future__ import annotations

import random
import re
from collections import Counter

import pytest

from gateway.errors import ConfigError, EngineFailure
from launch.engine.canary import Subject, measure_base, prove_adapter, prove_mixed, prove_together
from launch.engine.repeats import Remembered
from launch.engine.scoring import READ, ProofScores, Score

POSITIONS = 64


SUBJECT = Subject("tasks.naming.adapter", "/b", "naming@1", "Name it.")


FLOOR = 0.08
"""What bfloat16 moves a log-probability by in a batch of another shape."""


def weights(seed: int, near: Score | None = None, by: float = 1.0) -> Score:
    """What a model scores; near another's, where that is given."""
    chance = random.Random(seed)
    return Score(tuple((near.read[i] if near else -5.0) + chance.gauss(0, by) for i in range(POSITIONS)), ())


BASE, NAMING = weights(1), weights(2)


WEAK = weights(3, BASE, FLOOR)


class Engine:
    """Scores by model and system prompt; what a model writes is what it reads first, unless that is given.

    Of each model's answers a share of `odd` is rounded otherwise, by `floor`; with `steady` always in the
    same way, as where a prompt is cut at the same place.
    """

    def __init__(
        self,
        scores: dict[tuple[str, str], Score],
        odd: float = 0.0,
        floor: float = FLOOR,
        *,
        steady: bool = False,
        seed: int = 0,
    ) -> None:
        self.scores = scores
        self.odd, self.floor, self.steady = odd, floor, steady
        self.chance = random.Random(seed)
        self.writes: dict[str, tuple[float, ...]] = {}
        self.asked: Counter[str] = Counter()

    def __call__(self, model: str, system: str, written: int) -> Score:
        found = self.scores.get((model, system)) or self.scores[model, ""]
        self.asked[model] += 1
        if self.chance.random() < self.odd:
            # Where nothing else differs, two models round alike.
            found = weights(
                hash(found.read) if self.steady else self.chance.randrange(10**9), found, self.floor
            )
        return found if written == READ else Score((), self.writes.get(model, found.read[:8]))


def engine_of(adapter: Score, odd: float = 0.0, *, steady: bool = False, seed: int = 0) -> Engine:
    return Engine({("base", ""): BASE, ("naming@1", ""): adapter}, odd, steady=steady, seed=seed)


def prove(engine: Engine, known: ProofScores | None = None) -> ProofScores:
    return prove_adapter(engine, "base", SUBJECT, measure_base(engine, "base"), known)


def test_adapter_that_acts_is_proven() -> None:
    assert prove(engine_of(NAMING)).own == NAMING


def test_effect_of_the_size_of_rounding_counts_where_the_engine_repeats_itself() -> None:
    assert prove(engine_of(WEAK)).own == WEAK
    last_digit = Score((*BASE.read[:-1], BASE.read[-1] + 1e-6), ())
    assert prove(engine_of(last_digit)).own == last_digit


def test_adapter_that_acts_under_its_system_prompt_alone_is_proven() -> None:
    engine = Engine({("base", ""): BASE, ("naming@1", ""): BASE, ("naming@1", "Name it."): NAMING})
    assert prove(engine).own == BASE


@pytest.mark.parametrize("steady", [False, True])
@pytest.mark.parametrize("odd", [0.0, 0.05, 0.3])
def test_adapter_without_effect_is_found_whatever_rounds_otherwise(odd: float, steady: bool) -> None:
    for seed in range(50):
        with pytest.raises(ConfigError, match=r"tasks\.naming\.adapter: /b: has no effect: it scores a text"):
            prove(engine_of(BASE, odd, steady=steady, seed=seed))


@pytest.mark.parametrize("odd", [0.05, 0.3])
def test_weak_adapter_is_proven_though_some_answers_round_otherwise(odd: float) -> None:
    for seed in range(50):
        engine = engine_of(WEAK, odd, seed=seed)
        known = prove(engine)
        assert known.own == WEAK
        assert prove(engine, known).own == WEAK


def test_engine_that_never_repeats_itself_tells_what_is_larger_than_its_rounding() -> None:
    for seed in range(20):
        assert prove(engine_of(NAMING, 1.0, seed=seed)).own.distance(NAMING) < 2 * FLOOR
        with pytest.raises(ConfigError, match="cannot be told from this engine's own rounding"):
            prove(engine_of(BASE, 1.0, seed=seed))


def test_no_more_is_asked_than_the_answer_takes() -> None:
    acts, untrained = engine_of(WEAK), engine_of(BASE)
    prove(acts)
    assert acts.asked == {"base": 14 + 1, "naming@1": 9}
    with pytest.raises(ConfigError):
        prove(untrained)
    assert untrained.asked == {"base": 14 + 2, "naming@1": 2}  # without and with its system prompt


def test_other_weights_under_the_id_are_found() -> None:
    for other in (weights(20), weights(21, WEAK, 1e-5)):
        with pytest.raises(EngineFailure, match="does not answer as it did"):
            prove(engine_of(WEAK), ProofScores(other, BASE, 0.0))


def test_machine_that_rounds_otherwise_is_no_other_adapter() -> None:
    moved_base, moved = weights(30, BASE, FLOOR), weights(31, NAMING, 1.5 * FLOOR)
    assert prove(engine_of(NAMING), ProofScores(moved, moved_base, 0.0)).own == NAMING
    with pytest.raises(EngineFailure, match="does not answer as it did"):
        prove(engine_of(NAMING), ProofScores(weights(32), moved_base, 0.0))


def test_odd_first_answers_after_a_restart_do_not_cost_a_served_task() -> None:
    known = prove(engine_of(WEAK))

    class Late(Engine):
        def __call__(self, model: str, system: str, written: int) -> Score:
            self.odd = 0.0 if model == "base" or self.asked[model] >= 6 else 1.0
            return super().__call__(model, system, written)

    late = Late({("base", ""): BASE, ("naming@1", ""): WEAK})
    assert prove(late, known).own.distance(WEAK) < 2 * FLOOR


def remembered(asked: int = 200, odd: int = 0, usual: Score = BASE) -> Remembered:
    return Remembered(usual.values, asked, odd)


def test_what_is_remembered_of_the_engine_spares_scores_where_the_base_scores_as_then() -> None:
    engine = engine_of(WEAK)
    repeats = measure_base(engine, "base", remembered())
    assert prove_adapter(engine, "base", SUBJECT, repeats, None).own == WEAK
    assert engine.asked == {"base": 2 + 1, "naming@1": 3}
    another = engine_of(WEAK)
    repeats = measure_base(another, "base", remembered(usual=NAMING))
    assert (another.asked["base"], repeats.counted) == (14, (14, 0))


def test_untrained_adapter_is_found_though_the_engine_never_was_odd_before() -> None:
    for steady in (False, True):
        for seed in range(200):
            engine = engine_of(BASE, 0.05, steady=steady, seed=seed)
            repeats = measure_base(engine, "base", remembered())
            with pytest.raises(ConfigError, match="has no effect"):
                prove_adapter(engine, "base", SUBJECT, repeats, None)


def test_what_comes_again_to_the_digit_is_asked_once() -> None:
    known = prove(engine_of(WEAK))
    engine = engine_of(WEAK)
    assert prove(engine, known) == known
    assert engine.asked == {"base": 14 + 1, "naming@1": 1}


def test_adapter_that_lost_its_effect_since_it_was_proven_is_found() -> None:
    with pytest.raises(ConfigError, match="has no effect"):
        prove(engine_of(BASE), prove(engine_of(WEAK)))
    kept_as_the_base = ProofScores(BASE, BASE, 0.0)  # of one that acts under its system prompt alone
    with pytest.raises(ConfigError, match="has no effect"):
        prove(engine_of(BASE), kept_as_the_base)


THREE = {"base": BASE, "naming@1": NAMING, "weak@2": WEAK}


def engine_of_three(**changes: Score) -> Engine:
    scores = {**THREE, **{name.replace("_", "@"): score for name, score in changes.items()}}
    return Engine({(name, ""): score for name, score in scores.items()})


def test_adapters_are_proven_in_rounds_that_they_share() -> None:
    engine = engine_of_three()
    repeats = measure_base(engine, "base")
    found = prove_together(engine, "base", {"naming@1": None, "weak@2": None}, repeats)
    assert {name: scores.own for name, scores in found.items()} == {"naming@1": NAMING, "weak@2": WEAK}
    assert engine.asked == {"base": 14 + 8, "naming@1": 7, "weak@2": 7}
    again = engine_of_three()
    repeats = measure_base(again, "base", remembered())
    assert prove_together(again, "base", found, repeats) == found
    assert again.asked == {"base": 2 + 1, "naming@1": 1, "weak@2": 1}


def test_rounds_that_are_shared_condemn_nobody_and_confirm_nobody_else() -> None:
    engine = engine_of_three(weak_2=BASE)
    found = prove_together(engine, "base", {"naming@1": None, "weak@2": None}, measure_base(engine, "base"))
    assert found.keys() == {"naming@1"}
    others = {"naming@1": ProofScores(weights(20), BASE, 0.0), "weak@2": ProofScores(WEAK, BASE, 0.0)}
    other = engine_of_three()
    assert prove_together(other, "base", others, measure_base(other, "base")).keys() == {"weak@2"}


def test_adapters_that_are_taken_for_each_other_whenever_both_are_asked_are_not_confirmed() -> None:
    class Swapping(Engine):
        """From the first round that both share."""

        def __call__(self, model: str, system: str, written: int) -> Score:
            if self.asked["naming@1"] and self.asked["weak@2"]:
                model = {"naming@1": "weak@2", "weak@2": "naming@1"}.get(model, model)
            return super().__call__(model, system, written)

    engine = Swapping({(name, ""): score for name, score in THREE.items()})
    assert (
        prove_together(engine, "base", {"naming@1": None, "weak@2": None}, measure_base(engine, "base")) == {}
    )
    known = {name: ProofScores(THREE[name], BASE, 0.0) for name in ("naming@1", "weak@2")}
    assert prove_together(engine, "base", known, measure_base(engine, "base")) == {}


def mix(engine: Engine, alone: dict[str, Score]) -> None:
    wrote = {name: Score((), score.read[:8]) for name, score in alone.items()}
    prove_mixed(engine, alone, wrote)


def test_mixed_batch_where_the_base_answers_as_an_adapter_fails() -> None:
    for adapter in (NAMING, WEAK):
        mixed = Engine({("base", ""): adapter, ("naming@1", ""): adapter})
        with pytest.raises(EngineFailure, match="in a mixed batch base answers as naming@1 does"):
            mix(mixed, {"base": BASE, "naming@1": adapter})


def test_mixed_batch_that_mixes_up_what_is_written_alone_fails() -> None:
    mixed = Engine({("base", ""): BASE, ("naming@1", ""): NAMING})
    mixed.writes["base"] = NAMING.read[:8]
    with pytest.raises(EngineFailure, match="in a mixed batch base answers as naming@1 does"):
        mix(mixed, {"base": BASE, "naming@1": NAMING})


def test_mixed_batch_may_round_otherwise() -> None:
    for seed in range(50):
        engine = Engine({("base", ""): BASE, ("naming@1", ""): NAMING, ("weak@1", ""): WEAK}, 1.0, seed=seed)
        mix(engine, {"base": BASE, "naming@1": NAMING, "weak@1": WEAK})


def test_models_of_the_same_weights_cannot_be_mixed_up() -> None:
    engine = Engine({("base", ""): BASE, ("one@1", ""): NAMING, ("other@1", ""): NAMING}, 0.5)
    mix(engine, {"base": BASE, "one@1": NAMING, "other@1": NAMING})


def test_one_adapter_under_two_tasks_is_no_mix_up_however_it_rounds() -> None:
    rounded = Score(tuple(value + 1e-4 for value in NAMING.read), ())
    one, other = "one@abc", "other@abc"
    engine = Engine({("base", ""): BASE, (one, ""): rounded, (other, ""): NAMING})
    mix(engine, {"base": BASE, one: NAMING, other: rounded})
    with pytest.raises(EngineFailure, match="answers as other@def does"):
        mix(
            Engine({("base", ""): BASE, (one, ""): rounded, ("other@def", ""): NAMING}),
            {"base": BASE, one: NAMING, "other@def": rounded},
        )


def test_what_is_said_of_an_adapter_without_effect_is_true() -> None:
    with pytest.raises(ConfigError) as raised:
        prove(engine_of(BASE, 1.0))
    assert not re.search("exactly", str(raised.value))
