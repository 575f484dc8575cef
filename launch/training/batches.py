"""What a training step is made of, apart from the model: token ids, batches, the learning rate."""

from __future__ import annotations

import hashlib
import itertools
import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateway.errors import ConfigError
from launch.training.examples import Example, ExampleFile

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

SORTED_BATCHES = 8
WARM_UP = 0.04
FINAL_RATE = 0.03
LEAST_TO_HOLD_OUT = 20
MOST_HELD_OUT = 100
FEW_ALIKE = 10
"""So many that begin alike are held out together, however few are wanted."""
OPEN_WEIGHT = 0.25
"""What a token of an open part counts. A definition can be said in many ways, so its tokens make most of a
cluster's loss and little of what is to be learned; they still have to be learned.
"""


@dataclass(frozen=True, slots=True)
class Sample:
    """Token ids of one whole turn; the loss is on those from `answer_at` on."""

    ids: list[int]
    answer_at: int
    weights: tuple[float, ...] = ()
    """How much each token of the answer counts in the loss; empty where all count alike."""

    def counts(self) -> tuple[float, ...]:
        return self.weights or (1.0,) * (len(self.ids) - self.answer_at)


def shared_head(batch: Sequence[Sample]) -> int:
    """With how many tokens all of several begin, short of those from which an answer is foretold."""
    if len(batch) < 2:
        return 0
    most = min(sample.answer_at for sample in batch) - 1
    first = batch[0].ids
    apart = (at for at in range(most) if any(sample.ids[at] != first[at] for sample in batch))
    return next(apart, max(0, most))


def learning_rate(progress: float, peak: float) -> float:
    """Linear warm-up, then half a cosine down to a few percent of the peak; progress runs from 0 to 1."""
    if progress < WARM_UP:
        return peak * max(progress, 0.002) / WARM_UP  # by a progress of 0 the first step would change nothing
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


def encode(tokenizer: PreTrainedTokenizerBase, system: str | None, example: Example) -> Sample:
    """One example as the engine will see it: the chat template's prompt, the answer, the end of the turn."""
    messages = example.messages(system)
    prompt = str(tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True))
    # The template has written the special tokens. Head and answer apart: what an engine is asked ends between
    # the two, so that no token spans both.
    head: list[int] = tokenizer(prompt, add_special_tokens=False)["input_ids"]
    answer: list[int] = tokenizer(example.answer, add_special_tokens=False)["input_ids"]
    weights = _weights(tokenizer, example) if example.open or example.given else ()
    return Sample([*head, *answer, int(tokenizer.eos_token_id)], len(head), weights)


def _weights(tokenizer: PreTrainedTokenizerBase, example: Example) -> tuple[float, ...]:
    """Of each token of the answer, and of the end of the turn."""
    spans: list[tuple[int, int]] = []
    for part in example.open:
        at = example.answer.find(part, spans[-1][1] if spans else 0)
        spans += [(at, at + len(part))] if at >= 0 else []
    places = tokenizer(example.answer, add_special_tokens=False, return_offsets_mapping=True)[
        "offset_mapping"
    ]
    given = len(example.given)
    counts = [
        0.0 if end <= given else OPEN_WEIGHT if any(a <= begin and end <= b for a, b in spans) else 1.0
        for begin, end in places
    ]
    return (*counts, 1.0)


def encode_all(
    tokenizer: PreTrainedTokenizerBase, system: str | None, file: ExampleFile, max_tokens: int
) -> list[Sample]:
    """Every example, in order. Raises ConfigError for those of more than `max_tokens` tokens, and for one
    whose turns the chat template refuses.
    """
    from jinja2 import TemplateError

    samples = []
    for at, example in enumerate(file.examples):
        try:
            samples.append(encode(tokenizer, system, example))
        except TemplateError as error:
            roles = ", ".join(message["role"] for message in example.messages(system))
            mend = f"the base's chat template refuses its turns ({roles}): {error}"
            raise ConfigError("--data", file.place(at), mend) from error
    long = [at for at, sample in enumerate(samples) if len(sample.ids) > max_tokens]
    if long:
        mend = f"has {len(samples[long[0]].ids)} tokens; shorten it, or raise --max-tokens (now {max_tokens})"
        if len(long) > 1:
            longest = max(len(samples[at].ids) for at in long)
            mend += f"; {len(long) - 1} more are too long, the longest has {longest}"
        raise ConfigError("--data", file.place(long[0]), mend)
    return samples


def hold_out(examples: Sequence[Example], share: float) -> frozenset[int]:
    """The places of those to measure the loss with: by the opening's hash, so that order means nothing.

    Those that begin alike, and so all of one conversation, are held out together, unless they are so many
    that little else would be learned. None for fewer examples than 20.
    """
    if share <= 0 or len(examples) < LEAST_TO_HOLD_OUT:
        return frozenset()
    wanted = min(MOST_HELD_OUT, max(1, round(share * len(examples))))
    alike: dict[bytes, list[int]] = {}
    for at, example in enumerate(examples):
        alike.setdefault(hashlib.sha256(example.opening.encode()).digest(), []).append(at)
    chosen: list[int] = []
    for _, places in sorted(alike.items()):
        if len(chosen) < wanted and len(chosen) + len(places) <= max(2 * wanted, FEW_ALIKE):
            chosen += places
    return frozenset(chosen) if len(chosen) < len(examples) else frozenset()


def shuffled_forever(samples: Sequence[Sample], seed: int) -> Iterator[Sample]:
    """Every sample once an epoch, in another order each time."""
    rng = random.Random(seed)
    while True:
        yield from rng.sample(samples, len(samples))
