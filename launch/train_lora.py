"""Trains one LoRA adapter of the demo base, or of any other small model, on a CPU.

    python -m launch.train_lora --task naming --output ./naming --max-minutes 40

The prompt goes through the model's own chat template with the task's system prompt, exactly as the engine
applies it; the loss is on the answer and the end of the turn alone. The adapter trains in bfloat16, with
its exact values in float32 beside it, so that small updates are not rounded away. A usable adapter is in
the output folder from the first checkpoint on.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gateway.errors import ConfigError
from launch.demo_base import demo_base_path
from launch.tasks_data import SYSTEM_PROMPTS, Example, Task, split_task, training_examples
from launch.training_batches import (
    Sample,
    batches_by_length,
    encode,
    learning_rate,
    read_examples,
    shuffled_forever,
)
from launch.wordnet import DEFAULT_FOLDER, read_wordnet

if TYPE_CHECKING:
    import torch
    from peft import PeftModel

DEMO_BASE_NAME = "SmolLM2-135M-Instruct"
DEMO_CLUSTERS = Path(__file__).parent.parent / "configs" / "demo" / "clusters.jsonl"
LINEAR_LAYERS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
BATCH_EXAMPLES: dict[str, int] = {"naming": 16, "concept": 8}
CHECKPOINT_MINUTES = 8.0


@dataclass(frozen=True, slots=True)
class TrainResult:
    output: Path
    steps: int
    minutes: float
    examples: int
    loss: float


def batch_loss(model: PeftModel, batch: Sequence[Sample], pad: int) -> torch.Tensor:
    """Mean cross-entropy over the answer tokens; the head, a fifth of the weights, sees those alone."""
    import torch

    longest = max(len(sample.ids) for sample in batch)
    ids = torch.full((len(batch), longest), pad)
    chosen = torch.zeros((len(batch), longest), dtype=torch.bool)
    for row, sample in enumerate(batch):
        ids[row, : len(sample.ids)] = torch.tensor(sample.ids)
        chosen[row, sample.answer_at - 1 : len(sample.ids) - 1] = True
    # Padding is on the right and attention causal, so no mask is needed: nothing that counts sees a pad.
    language_model = model.get_base_model()
    hidden = language_model.model(input_ids=ids, use_cache=False).last_hidden_state
    logits = language_model.lm_head(hidden[:, :-1][chosen[:, :-1]])
    return torch.nn.functional.cross_entropy(logits.float(), ids[:, 1:][chosen[:, :-1]])


class ExactAdamW:
    """AdamW on float32 copies of bfloat16 weights, which get the rounded values after each step."""

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


def save_adapter(model: PeftModel, output: Path, base_name: str) -> None:
    """Writes beside the folder and renames, so that a reader finds a whole adapter or none."""
    fresh = output.with_name(output.name + ".new")
    old = output.with_name(output.name + ".old")
    shutil.rmtree(fresh, ignore_errors=True)
    shutil.rmtree(old, ignore_errors=True)
    model.save_pretrained(str(fresh), save_embedding_layers=False)
    settings = fresh / "adapter_config.json"
    fields = json.loads(settings.read_text(encoding="utf-8"))
    fields["base_model_name_or_path"] = base_name  # never a path of this machine
    settings.write_text(json.dumps(fields, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    (fresh / "README.md").unlink(missing_ok=True)  # peft's empty card
    if output.exists():
        output.rename(old)
    fresh.rename(output)
    shutil.rmtree(old, ignore_errors=True)


def examples_for(task: str, data: Path | None, wordnet: Path, seed: int) -> Iterator[Example]:
    if data is not None:
        return shuffled_forever(read_examples(data), seed)
    known: dict[str, Task] = {"concept": "concept", "naming": "naming"}
    if task not in known:
        raise ConfigError("--task", task, "concept and naming come with data; any other task needs --data")
    net = read_wordnet(wordnet)
    return training_examples(known[task], net, split_task(known[task], net, DEMO_CLUSTERS), seed)


def train(
    task: str,
    output: Path,
    *,
    base: Path | None = None,
    steps: int = 600,
    max_minutes: float = 45.0,
    seed: int = 7,
    data: Path | None = None,
    system: str | None = None,
    rank: int = 16,
    peak_rate: float = 5e-4,
    batch_examples: int | None = None,
    wordnet: Path = DEFAULT_FOLDER,
) -> TrainResult:
    """Trains until `steps` or `max_minutes`, whichever is sooner, and leaves the adapter in `output`.

    Raises ConfigError where the base or the data is not there, or the training packages are not installed.
    """
    folder = (base or demo_base_path()).expanduser()
    if not (folder / "config.json").is_file():
        raise ConfigError("--base", str(folder), "holds no model; `make` fetches the demo base")
    examples = examples_for(task, data, wordnet, seed)
    try:
        import torch
        from peft import LoraConfig, PeftModel, get_peft_model
        from transformers import AutoModelForCausalLM, AutoTokenizer, set_seed
    except ImportError as error:
        raise ConfigError(
            "train", str(error.name), "install the training packages: pip install '.[train]'"
        ) from error
    set_seed(seed)
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", os.cpu_count() or 1)))
    tokenizer = AutoTokenizer.from_pretrained(str(folder))
    plain = AutoModelForCausalLM.from_pretrained(
        str(folder), dtype=torch.bfloat16, attn_implementation="sdpa"
    )
    settings = LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=LINEAR_LAYERS, task_type="CAUSAL_LM")
    model = get_peft_model(plain, settings, autocast_adapter_dtype=False)
    assert isinstance(model, PeftModel)
    model.train()
    optimizer = ExactAdamW([weight for weight in model.parameters() if weight.requires_grad])
    prompt = (
        system
        if system is not None
        else next((text for name, text in SYSTEM_PROMPTS.items() if name == task), None)
    )
    samples = (encode(tokenizer, prompt, example) for example in examples)
    size = batch_examples or BATCH_EXAMPLES.get(task, 8)
    base_name = DEMO_BASE_NAME if folder == demo_base_path() else folder.name

    started = saved = time.monotonic()
    mean_loss = 0.0
    done = tokens = 0
    for batch in batches_by_length(samples, size):
        progress = max(done / steps, (time.monotonic() - started) / (60 * max_minutes))
        if progress >= 1:
            break
        loss = batch_loss(model, batch, int(tokenizer.pad_token_id or 0))
        loss.backward()
        optimizer.step(learning_rate(progress, peak_rate))
        done += 1
        tokens += sum(len(sample.ids) for sample in batch)
        mean_loss = loss.item() if done == 1 else 0.95 * mean_loss + 0.05 * loss.item()
        now = time.monotonic()
        if done % 10 == 0 or done <= 3:
            speed = tokens / (now - started)
            typer.echo(
                f"step {done} of {steps}, {(now - started) / 60:.1f} of {max_minutes:g} min, "
                f"loss {mean_loss:.3f}, {speed:.0f} tokens/s"
            )
        if now - saved >= 60 * CHECKPOINT_MINUTES:
            save_adapter(model, output, base_name)
            saved = now
    save_adapter(model, output, base_name)
    minutes = (time.monotonic() - started) / 60
    return TrainResult(output, done, minutes, done * size, mean_loss)


def train_command(
    task: Annotated[str, typer.Option(help="concept, naming, or any other name together with --data")],
    output: Annotated[Path, typer.Option(help="folder for the adapter; replaced at each checkpoint")],
    base: Annotated[
        Path | None, typer.Option(help="folder of the base model; the demo base by default")
    ] = None,
    steps: Annotated[int, typer.Option(min=1, help="steps at most")] = 600,
    max_minutes: Annotated[float, typer.Option(min=0.01, help="minutes at most")] = 45.0,
    seed: Annotated[int, typer.Option(help="of the data's order and the adapter's first values")] = 7,
    data: Annotated[
        Path | None, typer.Option(help="own examples, JSON lines of prompt and completion")
    ] = None,
    system: Annotated[
        str | None, typer.Option(help="the system prompt; concept and naming have theirs")
    ] = None,
    rank: Annotated[int, typer.Option(min=1, max=256, help="rank of the adapter")] = 16,
    learning_rate: Annotated[float, typer.Option(help="the highest, after the warm-up")] = 5e-4,
    batch: Annotated[int | None, typer.Option(min=1, help="examples a step; 16 for naming, else 8")] = None,
    wordnet: Annotated[Path, typer.Option(help="folder of WordNet's files")] = DEFAULT_FOLDER,
) -> None:
    """Train a LoRA adapter for one task."""
    result = train(
        task,
        output,
        base=base,
        steps=steps,
        max_minutes=max_minutes,
        seed=seed,
        data=data,
        system=system,
        rank=rank,
        peak_rate=learning_rate,
        batch_examples=batch,
        wordnet=wordnet,
    )
    typer.echo(
        f"{result.output}: {result.steps} steps, {result.examples} examples, "
        f"{result.minutes:.1f} min, loss {result.loss:.3f}"
    )


if __name__ == "__main__":
    try:
        typer.run(train_command)
    except ConfigError as error:
        sys.exit(str(error))
