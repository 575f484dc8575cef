"""The counts of `bench proof`, on an engine that is known to err."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from launch.bench.faults.proof_trials import Errors, Loaded, Trials, scaled
from launch.engine.canary import measure_base
from launch.engine.scoring import ProofScores, Score

BASE, ONE, OTHER = (Score((-first, -2.0), (-first,)) for first in (1.0, 2.0, 3.0))
KNOWN = {"weak-a": ProofScores(ONE, BASE, 0.0), "weak-b": ProofScores(OTHER, BASE, 0.0)}
SOUND = {"base": BASE, "weak-a": ONE, "weak-b": OTHER, "untrained-a": BASE}


def errors_of(**answers: Score) -> Errors:
    scores = {**SOUND, **{name.replace("_", "-"): score for name, score in answers.items()}}

    def ask(model: str, system: str, written: int) -> Score:
        return scores[model]

    errors = Errors(0)
    loaded = Loaded(["weak-a", "weak-b"], ["untrained-a"])
    trials = Trials(ask, "base", loaded, KNOWN, measure_base(ask, "base"), errors)
    for number in range(4):
        trials.run(number)
    return errors


def test_nothing_is_counted_of_a_proof_that_does_not_err() -> None:
    errors = errors_of()
    assert (errors.proofs, errors.others_held, errors.wrong) == (4, 4, 0)
    assert errors.figures["scores"] == 9


def test_every_error_is_counted() -> None:
    assert errors_of(weak_a=BASE).weak_refused == 2
    assert errors_of(untrained_a=ONE).untrained_accepted == 4
    swapped = errors_of(weak_a=OTHER)
    assert (swapped.known_refused, swapped.others_accepted, swapped.wrong) == (2, 2, 4)


def test_scaled_adapter_is_the_same_but_for_its_lora_b(tmp_path: Path) -> None:
    tensors = {"x.lora_A.weight": torch.ones(2, 3), "x.lora_B.weight": torch.ones(3, 2)}
    (tmp_path / "given").mkdir()
    save_file(tensors, tmp_path / "given" / "adapter_model.safetensors")
    (tmp_path / "given" / "adapter_config.json").write_text(json.dumps({"r": 2}))
    scaled(tmp_path / "given", tmp_path / "made", 1 / 16)
    made = load_file(tmp_path / "made" / "adapter_model.safetensors")
    assert torch.equal(made["x.lora_A.weight"], torch.ones(2, 3))
    assert torch.equal(made["x.lora_B.weight"], torch.full((3, 2), 1 / 16))
    assert json.loads((tmp_path / "made" / "adapter_config.json").read_text()) == {"r": 2}
