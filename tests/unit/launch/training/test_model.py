"""The model while it trains: only answers count in its loss, and no small step is lost."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from gateway.errors import ConfigError
from launch.training.batches import Sample
from launch.training.model import (
    ExactAdamW,
    attention_for,
    batch_loss,
    held_out_loss,
    load_for_training,
    load_tokenizer,
    quickest_dtype,
)

SAMPLES = [Sample([1, 2, 3, 4, 5], 3), Sample([1, 2, 3], 2)]


def test_padding_changes_no_loss(base: Path) -> None:
    model = load_for_training(str(base), 2, 1)
    together = batch_loss(model, SAMPLES, 0).item()
    assert together == pytest.approx(batch_loss(model, SAMPLES, 7).item(), rel=1e-3)
    alone = [batch_loss(model, [one], 0).item() for one in SAMPLES]
    assert together == pytest.approx((2 * alone[0] + alone[1]) / 3, rel=1e-2)
    mean = held_out_loss(model, SAMPLES, 2, 0)
    assert mean == pytest.approx(together, rel=1e-2)
    assert held_out_loss(model, [], 2, 0) is None
    assert model.training


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_what_prompts_share_is_computed_once_to_the_same_loss_and_gradients(
    base: Path, attention: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = load_for_training(str(base), 2, 1, attention=attention).float()
    batch = [Sample([5, 6, 7, 1, 2, 3], 4), Sample([5, 6, 7, 8, 9, 4, 3, 2], 6), Sample([5, 6, 7, 2, 3], 4)]
    with torch.no_grad():  # a fresh adapter's second half is zero, so that the first would have no gradient
        for name, weight in model.named_parameters():
            if "lora_B" in name:
                weight.fill_(0.02)
    trained = [weight for weight in model.parameters() if weight.requires_grad]
    seen: list[torch.Size] = []
    embed = model.get_input_embeddings()
    embed.register_forward_hook(lambda _module, given, _out: seen.append(given[0].shape))

    def loss_and_gradients() -> tuple[float, list[torch.Tensor]]:
        loss = batch_loss(model, batch, 0)
        return loss.item(), list(torch.autograd.grad(loss, trained))

    loss, gradients = loss_and_gradients()
    assert seen == [(1, 3), (3, 4)]
    monkeypatch.setattr("launch.training.model.shared_head", lambda _batch: 0)
    whole, whole_gradients = loss_and_gradients()
    assert seen[2:] == [(3, 7)]
    assert loss == pytest.approx(whole, rel=1e-4)
    for one, other in zip(gradients, whole_gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-6)


def test_what_prompts_share_is_not_kept_where_a_layer_keeps_less(
    base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = load_for_training(str(base), 2, 1)
    batch = [Sample([5, 6, 1, 2, 3], 4), Sample([5, 6, 7, 8, 9], 4)]
    whole = batch_loss(model, batch, 0).item()
    monkeypatch.setattr("transformers.cache_utils.DynamicLayer", object)
    assert batch_loss(model, batch, 0).item() == pytest.approx(whole, rel=1e-2)


def test_a_token_counts_as_much_as_its_weight_says(base: Path) -> None:
    model = load_for_training(str(base), 2, 1)
    answers = [batch_loss(model, [Sample([1, 2, 3, 4][: at + 1], at)], 0).item() for at in (2, 3)]
    both = batch_loss(model, [Sample([1, 2, 3, 4], 2, (1.0, 0.25))], 0).item()
    assert both == pytest.approx((answers[0] + 0.25 * answers[1]) / 1.25, rel=1e-2)
    assert held_out_loss(model, [Sample([1, 2, 3, 4], 2, (1.0, 0.25))], 1, 0) == pytest.approx(both, rel=1e-2)


def test_attention_keeps_its_scores_only_where_they_are_few(base: Path) -> None:
    short, long = Sample([1] * 256, 1), Sample([1] * 1024, 1)
    assert attention_for([short], 8) == "eager"
    assert attention_for([short, long], 8) == attention_for([short], 9) == "sdpa"
    losses = [
        batch_loss(load_for_training(str(base), 2, 1, attention=way), SAMPLES, 0).item()
        for way in ("eager", "sdpa")
    ]
    assert losses[0] == pytest.approx(losses[1], rel=1e-2)


def test_adapter_alone_is_trained(base: Path) -> None:
    model = load_for_training(str(base), 2, 1)
    trained = [name for name, weight in model.named_parameters() if weight.requires_grad]
    assert trained
    assert all("lora_" in name for name in trained)


def test_steps_too_small_for_bfloat16_add_up() -> None:
    weight = torch.ones(4, dtype=torch.bfloat16, requires_grad=True)
    adam = ExactAdamW([weight])
    for _ in range(100):
        weight.grad = torch.ones(4, dtype=torch.bfloat16)
        adam.step(1e-3)  # a 256th is the least that bfloat16 can tell from one
    assert weight[0].item() == pytest.approx(0.9, abs=0.02)
    assert weight.grad is None


def test_base_that_cannot_be_loaded_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="its tokenizer cannot be loaded"):
        load_tokenizer(str(tmp_path))
    with pytest.raises(ConfigError, match="cannot be trained on"):
        load_for_training(str(tmp_path), 2, 1)
    assert quickest_dtype() in (torch.float32, torch.bfloat16)
