"""What a training step is made of, apart from the model: examples, token ids, batches, the learning rate."""

from __future__ import annotations

import itertools
import json
import math
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.errors import ConfigError
from launch.tasks_data import Example

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

SORTED_BATCHES = 8
WARM_UP = 0.04
FINAL_RATE = 0.03


@dataclass(frozen=True, slots=True)
class Sample:
    """Token ids of one whole turn; the loss is on those from `answer_at` on."""

    ids: list[int]
    answer_at: int


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


def shuffled_forever(examples: list[Example], seed: int) -> Iterator[Example]:
    """Every example once an epoch, in another order each time."""
    rng = random.Random(seed)
    while True:
        yield from rng.sample(examples, len(examples))
