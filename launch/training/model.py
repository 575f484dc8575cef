"""The model while it trains: its loss, and steps that lose no small update. Needs torch and peft."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.errors import ConfigError
from launch.machine.hardware import thread_count
from launch.training.batches import Sample, batches_by_length, shared_head

if TYPE_CHECKING:
    import torch
    from peft import PeftModel
    from transformers import DynamicCache, PreTrainedModel, PreTrainedTokenizerBase

MOST_SCORES = 2**19
"""Pairs of tokens in a batch up to which attention keeps its scores: a hundred MiB a layer at most in small
models. torch's fused attention keeps none, but on a CPU its backward pass took a fifth of a step.
"""
LINEAR_LAYERS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def need_training_packages() -> None:
    """Raises ConfigError where they are not installed."""
    try:
        import peft  # noqa: F401
        import torch  # noqa: F401
        import transformers  # noqa: F401
    except ImportError as error:
        raise ConfigError(
            "train", str(error.name), "install the training packages: pip install 'lora-gateway[train]'"
        ) from error


def load_tokenizer(base: str) -> PreTrainedTokenizerBase:
    """Raises ConfigError where the base has none, or one without a chat template."""
    from transformers import AutoTokenizer

    try:
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(base)
    except (OSError, ValueError) as error:
        raise ConfigError("--base", base, f"its tokenizer cannot be loaded: {_first_line(error)}") from error
    if not tokenizer.chat_template:
        raise ConfigError("--base", base, "has no chat template; choose the model's instruct variant")
    return tokenizer


def quickest_dtype() -> torch.dtype:
    """bfloat16 where this processor multiplies in it, else float32, which is then many times quicker."""
    import torch

    took: dict[torch.dtype, float] = {}
    for dtype in (torch.float32, torch.bfloat16):
        left, right = torch.ones(256, 512, dtype=dtype), torch.ones(512, 512, dtype=dtype)
        runs = []
        for _ in range(4):
            began = time.perf_counter()
            left @ right
            runs.append(time.perf_counter() - began)
        took[dtype] = min(runs)
    return min(took, key=took.__getitem__)


def attention_for(samples: Sequence[Sample], batch: int) -> str:
    """Which of transformers' implementations is the quickest for batches of these that fits in memory."""
    longest = max((len(sample.ids) for sample in samples), default=0)
    return "eager" if batch * longest**2 <= MOST_SCORES else "sdpa"


def load_for_training(
    base: str,
    rank: int,
    seed: int,
    last_layers: int | None = None,
    start: Path | None = None,
    attention: str = "sdpa",
) -> PeftModel:
    """The base, frozen, with an adapter on the linear layers of its last blocks, or of all.

    It is fresh, or goes on from `start`, with that one's rank, scale and layers. `attention`: see
    `attention_for`.

    Nothing is computed backwards through blocks below the first one that has an adapter.
    """
    import torch
    from peft import LoraConfig, PeftModel, get_peft_model
    from transformers import AutoModelForCausalLM, set_seed
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    set_seed(seed)
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", thread_count())))
    key, value = "--base", base
    # peft would make the adapter float32 beside a bfloat16 base: `ExactAdamW` keeps the exact values.
    as_base = {"autocast_adapter_dtype": False}
    try:
        dtype = quickest_dtype()
        plain = AutoModelForCausalLM.from_pretrained(base, dtype=dtype, attn_implementation=attention)
        if start is not None:
            key, value = "--start", str(start)
            model = PeftModel.from_pretrained(plain, value, is_trainable=True, **as_base)
        else:
            blocks = int(plain.config.num_hidden_layers)
            settings = LoraConfig(
                r=rank,
                lora_alpha=2 * rank,
                target_modules=LINEAR_LAYERS,
                layers_to_transform=None if last_layers is None else list(range(blocks))[-last_layers:],
                task_type="CAUSAL_LM",
            )
            model = get_peft_model(plain, settings, **as_base)
    except (OSError, ValueError, RuntimeError) as error:  # the last of torch, for shapes that do not fit
        raise ConfigError(key, value, f"cannot be trained on: {_first_line(error)}") from error
    assert isinstance(model, PeftModel)
    return model


def load_weights(model: PeftModel, folder: Path) -> None:
    """Give the model's adapter the weights that it was saved with there. Raises ConfigError."""
    from peft import load_peft_weights, set_peft_model_state_dict
    from safetensors import SafetensorError

    try:
        set_peft_model_state_dict(model, load_peft_weights(str(folder), device="cpu"))
    except (OSError, ValueError, SafetensorError) as error:
        raise ConfigError("--output", str(folder), f"cannot be read: {_first_line(error)}") from error


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]


def batch_loss(model: PeftModel, batch: Sequence[Sample], pad: int) -> torch.Tensor:
    """Mean cross-entropy over the answer tokens, by their weights; the head, a fifth of the model's, sees
    those alone. What all prompts begin with, the system's at least, is computed once.
    """
    import torch

    language_model = model.get_base_model()
    past = _computed_once(language_model, batch)
    begin = past.get_seq_length() if past is not None else 0
    longest = max(len(sample.ids) for sample in batch) - begin
    ids = torch.full((len(batch), longest), pad)
    counts = torch.zeros((len(batch), longest - 1))
    for row, sample in enumerate(batch):
        length = len(sample.ids) - begin
        ids[row, :length] = torch.tensor(sample.ids[begin:])
        counts[row, sample.answer_at - begin - 1 : length - 1] = torch.tensor(sample.counts())
    chosen = counts > 0
    # Padding is on the right and attention causal, so no mask is needed: nothing that counts sees a pad.
    hidden = language_model.model(
        input_ids=ids[:, :-1], past_key_values=past, use_cache=past is not None
    ).last_hidden_state
    logits = language_model.lm_head(hidden[chosen])
    losses = torch.nn.functional.cross_entropy(logits.float(), ids[:, 1:][chosen], reduction="none")
    return losses @ counts[chosen] / counts.sum()


def _computed_once(language_model: PreTrainedModel, batch: Sequence[Sample]) -> DynamicCache | None:
    """Keys and values of the tokens that all begin with, for each; gradients go back through them.

    None where they share none, or where a layer keeps something else than all keys and values.
    """
    import torch
    from transformers import DynamicCache
    from transformers.cache_utils import DynamicLayer

    begin = shared_head(batch)
    if not begin:
        return None
    past = language_model.model(
        input_ids=torch.tensor([batch[0].ids[:begin]]), use_cache=True
    ).past_key_values
    if type(past) is not DynamicCache or any(type(layer) is not DynamicLayer for layer in past.layers):
        return None
    past.batch_repeat_interleave(len(batch))
    return past


def held_out_loss(model: PeftModel, samples: Sequence[Sample], size: int, pad: int) -> float | None:
    """Mean loss of an answer token over all samples, by their weights; None where there are none."""
    import torch

    if not samples:
        return None
    model.eval()
    total = tokens = 0.0
    with torch.no_grad():
        for batch in batches_by_length(iter(samples), size):
            count = sum(sum(sample.counts()) for sample in batch)
            total += batch_loss(model, batch, pad).item() * count
            tokens += count
    model.train()
    return total / tokens


class ExactAdamW:
    """AdamW on float32 copies of the weights, which take over the rounded values after each step."""

    def __init__(self, weights: list[torch.Tensor]) -> None:
        import torch

        self._weights = weights
        self._exact = [weight.detach().float().clone().requires_grad_() for weight in weights]
        self._adam = torch.optim.AdamW(self._exact, betas=(0.9, 0.99), weight_decay=0.0)

    def step(self, rate: float) -> None:
        import torch

        for part in self._adam.param_groups:
            part["lr"] = rate
        for weight, exact in zip(self._weights, self._exact, strict=True):
            exact.grad = None if weight.grad is None else weight.grad.float()
            weight.grad = None
        torch.nn.utils.clip_grad_norm_(self._exact, 1.0)
        self._adam.step()
        with torch.no_grad():
            for weight, exact in zip(self._weights, self._exact, strict=True):
                weight.copy_(exact)
