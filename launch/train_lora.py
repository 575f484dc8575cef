"""Trains one LoRA adapter of the demo base, or of any other small model, on a CPU.

    python -m launch.train_lora --task naming --output ./naming --max-minutes 40

The prompt goes through the model's own chat template with the task's system prompt, exactly as the engine
applies it; the loss is on the answer and the end of the turn alone. The adapter trains in bfloat16, with
its exact values in float32 beside it, so that small updates are not rounded away. A usable adapter is in
the output folder from the first checkpoint on.
"""

from __future__ import annotations

import itertools
import json
import math
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
from launch.tasks_data import SYSTEM_PROMPTS, Example, Task, split_task, training_examples
from launch.wordnet import DEFAULT_FOLDER, read_wordnet

if TYPE_CHECKING:
    import torch
    from peft import PeftModel
    from transformers import PreTrainedTokenizerBase

DEMO_BASE = Path("~/.cache/lora-gateway/models/smollm2-135m-instruct")
DEMO_BASE_NAME = "SmolLM2-135M-Instruct"
DEMO_CLUSTERS = Path(__file__).parent.parent / "configs" / "demo" / "clusters.jsonl"
LINEAR_LAYERS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
BATCH_EXAMPLES: dict[str, int] = {"naming": 16, "concept": 8}
SORTED_BATCHES = 8
CHECKPOINT_MINUTES = 8.0
WARM_UP = 0.04
FINAL_RATE = 0.03


@dataclass(frozen=True, slots=True)
class TrainResult:
    output: Path
    steps: int
    minutes: float
    examples: int
    loss: float


@dataclass(frozen=True, slots=True)
class Sample:
    """Token ids of one whole turn; the loss is on those from `answer_at` on."""

    ids: list[int]
    answer_at: int


# -- pure parts ------------------------------------------------------------------------------------


def learning_rate(progress: float, peak: float) -> float:
    """Linear warm-up, then half a cosine down to a few percent of the peak; progress runs from 0 to 1."""
    if progress < WARM_UP:
        return peak * max(progress, 0.002) / WARM_UP
    done = min(1.0, (progress - WARM_UP) / (1 - WARM_UP))
    return peak * (FINAL_RATE + (1 - FINAL_RATE) * 0.5 * (1 + math.cos(math.pi * done)))


def batches_by_length(samples: Iterator[Sample], size: int) -> Iterator[list[Sample]]:
    """Batches of samples of about one length, so that little is padded; their order stays mixed."""
    for number in itertools.count():
        window = sorted(itertools.islice(samples, size * SORTED_BATCHES), key=lambda sample: len(sample.ids))
        if not window:
            return
        batches = [window[at : at + size] for at in range(0, len(window), size)]
        # A stride that shares no factor with the count visits every batch, short and long in turn.
        stride = next(step for step in (3, 5, 7, 1) if math.gcd(step, len(batches)) == 1)
        yield from (batches[(number + at * stride) % len(batches)] for at in range(len(batches)))


def read_examples(path: Path) -> list[Example]:
    """Own data: one JSON object with `prompt` and `completion` a line."""
    found: list[Example] = []
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise ConfigError("--data", str(path), f"cannot be read ({error.strerror})") from error
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            fields = json.loads(line)
            found.append(Example(str(fields["prompt"]), str(fields["completion"])))
        except (ValueError, KeyError, TypeError) as error:
            raise ConfigError(
                "--data", f"{path}:{number}", 'each line must be {"prompt": …, "completion": …}'
            ) from error
    if not found:
        raise ConfigError("--data", str(path), "holds no example")
    return found


def encode(tokenizer: PreTrainedTokenizerBase, system: str | None, example: Example) -> Sample:
    messages = [{"role": "system", "content": system}] if system else []
    messages.append({"role": "user", "content": example.prompt})
    prompt = str(tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True))
    head: list[int] = tokenizer(prompt, add_special_tokens=False)["input_ids"]
    answer: list[int] = tokenizer(example.completion, add_special_tokens=False)["input_ids"]
    return Sample([*head, *answer, int(tokenizer.eos_token_id)], len(head))


# -- the training ----------------------------------------------------------------------------------


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
        return itertools.cycle(read_examples(data))
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
    folder = (base or DEMO_BASE).expanduser()
    if not (folder / "config.json").is_file():
        raise ConfigError("--base", str(folder), "holds no model (config.json is missing)")
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
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    exact = [weight.detach().float().clone().requires_grad_() for weight in weights]
    optimizer = torch.optim.AdamW(exact, lr=peak_rate, betas=(0.9, 0.99), weight_decay=0.0)
    prompt = system if system is not None else SYSTEM_PROMPTS.get(task)  # type: ignore[call-overload]
    samples = (encode(tokenizer, prompt, example) for example in examples)
    size = batch_examples or BATCH_EXAMPLES.get(task, 8)
    base_name = DEMO_BASE_NAME if base is None or folder.name in {"base", DEMO_BASE.name} else folder.name

    started = time.monotonic()
    saved = started
    mean_loss = 0.0
    done = tokens = 0
    for batch in batches_by_length(samples, size):
        elapsed = time.monotonic() - started
        progress = max(done / steps, elapsed / (60 * max_minutes))
        if progress >= 1:
            break
        for part in optimizer.param_groups:
            part["lr"] = learning_rate(progress, peak_rate)
        loss = batch_loss(model, batch, int(tokenizer.pad_token_id or 0))
        loss.backward()
        for weight, master in zip(weights, exact, strict=True):
            master.grad = None if weight.grad is None else weight.grad.float()
            weight.grad = None
        torch.nn.utils.clip_grad_norm_(exact, 1.0)
        optimizer.step()
        with torch.no_grad():
            for weight, master in zip(weights, exact, strict=True):
                weight.copy_(master)
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
