"""What the base says elsewhere is kept: its answers are taken without the adapter, and strayed from less."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from peft import PeftModel

from launch.training.batches import Sample
from launch.training.data.others import OtherPrompt
from launch.training.kept import ANSWER_TOKENS, base_answers, kept_loss, opened
from launch.training.model import ExactAdamW, batch_loss, load_for_training, load_tokenizer

PROMPTS = [
    OtherPrompt((("user", "say red of thing3"),)),
    OtherPrompt((("system", "say"), ("user", "colour"), ("user", "colour")), given="green of"),
]


def moved(model: PeftModel) -> PeftModel:
    """With an adapter that says something else: a fresh one's second half is zero."""
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "lora_B" in name:
                weight.fill_(0.1)
    return model


def test_the_base_answers_without_the_adapter_after_what_is_given(base: Path) -> None:
    tokenizer = load_tokenizer(str(base))
    said: list[str] = []
    fresh, other = (load_for_training(str(base), 2, 1) for _ in range(2))
    answers = base_answers(fresh, tokenizer, PROMPTS, lambda text, _share: said.append(text))
    assert answers == base_answers(moved(other), tokenizer, PROMPTS, lambda *_: None)
    assert said
    assert other.training
    heads = {tuple(sample.ids[: sample.answer_at]) for sample in answers}
    assert heads == {tuple(opened(tokenizer, prompt) or ()) for prompt in PROMPTS}
    assert tokenizer.decode(opened(tokenizer, PROMPTS[1])).endswith("[assistant] green of")
    assert all(1 <= len(sample.ids) - sample.answer_at <= ANSWER_TOKENS for sample in answers)
    # Beside a longer one, padded, the shorter is answered as by itself.
    alone = base_answers(fresh, tokenizer, PROMPTS[:1], lambda *_: None)
    assert alone[0] in answers


def test_turns_that_the_chat_template_refuses_are_left_out(base: Path) -> None:
    tokenizer = load_tokenizer(str(base))
    tokenizer.chat_template = (
        "{% if messages[0].role == 'system' %}{{ raise_exception('no system') }}{% endif %}say"
    )
    assert opened(tokenizer, PROMPTS[1]) is None
    model = load_for_training(str(base), 2, 1)
    assert len(base_answers(model, tokenizer, PROMPTS, lambda *_: None)) == 1


def test_a_fresh_adapter_is_no_way_from_the_base_and_padding_changes_nothing(base: Path) -> None:
    samples = [Sample([1, 2, 3, 4, 5], 3), Sample([5, 2, 3], 2)]
    model = load_for_training(str(base), 2, 1)
    assert kept_loss(model, samples, 0).item() == pytest.approx(0.0, abs=1e-6)
    moved(model)
    together = kept_loss(model, samples, 0).item()
    assert together > 0.001
    assert together == pytest.approx(kept_loss(model, samples, 7).item(), rel=1e-3)
    alone = [kept_loss(model, [one], 0).item() for one in samples]
    assert together == pytest.approx((2 * alone[0] + alone[1]) / 3, rel=0.05)


def test_an_adapter_learns_its_task_and_says_elsewhere_what_the_base_does(base: Path) -> None:
    tokenizer = load_tokenizer(str(base))
    task = [Sample([2, 8, 3, 9, 4, 5, 1], 5), Sample([2, 8, 3, 9, 10, 4, 6, 1], 6)]

    def after(kept: bool) -> tuple[float, float]:
        model = load_for_training(str(base), 4, 1)
        others = base_answers(model, tokenizer, PROMPTS, lambda *_: None)
        adam = ExactAdamW([weight for weight in model.parameters() if weight.requires_grad])
        for _ in range(40):
            batch_loss(model, task, 0).backward()
            if kept:
                kept_loss(model, others, 0).backward()
            adam.step(0.01)
        return batch_loss(model, task, 0).item(), kept_loss(model, others, 0).item()

    learned, strayed = after(False)
    also_learned, stayed = after(True)
    assert learned < 0.2
    assert also_learned < 0.3
    assert stayed < strayed / 2
