"""Ready means proven: real completions on base and adapters, each adapter changes the answer, each answers as
it did when it was proven first, and a batch of all of them mixes nobody's answer with another's."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from gateway.errors import ConfigError, EngineFailure
from launch.engine_http import call

TOKENS = 8
COPIES = 2
"""Requests of each model that are sent at once."""
NOISE = 0.1
"""Log-probability; between a batch of one and of 18 in bfloat16 the first token's moved by less."""
SAME_WITHIN = 1e-6
"""Log-probability; what an adapter without effect leaves exactly as it was."""
MOST_IN_BATCH = 32
TEXT = "Members: apple, pear, plum\n"


@dataclass(frozen=True)
class Canary:
    """The fixed greedy answer to one prompt."""

    tokens: tuple[str, ...]
    logprobs: tuple[float, ...]

    def distance(self, other: Canary) -> float:
        """The largest difference of log-probabilities, up to and with the first token that differs."""
        largest = 0.0
        pairs = zip(self.tokens, other.tokens, self.logprobs, other.logprobs, strict=False)
        for mine, theirs, logprob, other_logprob in pairs:
            largest = max(largest, abs(logprob - other_logprob))
            if mine != theirs:
                break
        return largest

    def agrees(self, other: Canary) -> bool:
        """Whether both may come from the same weights: half of the tokens are the same, and as likely.

        The distance alone does not tell: two other tokens may happen to be as likely as each other.
        """
        half = max(1, len(self.tokens) // 2)
        return self.tokens[:half] == other.tokens[:half] and self.distance(other) <= NOISE

    @property
    def fingerprint(self) -> str:
        """Twelve hex digits over the tokens."""
        return hashlib.sha256("\0".join(self.tokens).encode()).hexdigest()[:12]

    def to_json(self) -> str:
        return json.dumps({"tokens": self.tokens, "logprobs": self.logprobs})

    @classmethod
    def from_json(cls, text: str) -> Canary:
        document = json.loads(text)
        return cls(tuple(document["tokens"]), tuple(document["logprobs"]))


@dataclass(frozen=True)
class Subject:
    """One adapter to prove."""

    key: str  # its key in the configuration, or the command's word for it
    path: str
    id: str
    system: str


Ask = Callable[[str, str], Canary]
"""Model and system prompt → its canary's answer."""


def asker(url: str) -> Ask:
    """Asks the engine at `url`. What it returns raises EngineFailure."""
    return lambda model, system: canary(url, model, system)


def prove_adapter(ask: Ask, base: str, subject: Subject, known: Canary | None) -> Canary:
    """The adapter's own answer. Raises ConfigError where it has no effect, EngineFailure where its answer is
    not the `known` one.

    Under traffic a batch's size moves every answer a little, so base and adapter are asked together and more
    than once, and the adapter's effect must be larger than what moves each of them.
    """
    # One adapter may act only under the system prompt that it was trained with.
    for system in dict.fromkeys(["", subject.system]):
        base_answers, own_answers = _side_by_side(ask, base, subject.id, system)
        moved = max(_spread(base_answers), _spread(own_answers))
        effect = min(mine.distance(theirs) for mine in own_answers for theirs in base_answers)
        if effect > max(SAME_WITHIN, moved):
            break
    else:
        mend = "has no effect: it answers exactly as the base does; was it trained and saved?"
        raise ConfigError(subject.key, subject.path, mend)
    answer = own_answers[0] if not system else ask(subject.id, "")
    if known is not None and min(answer.distance(known), _nearest(ask, subject.id, known)) > NOISE:
        raise EngineFailure(
            f"{subject.id} does not answer as it did when it was proven first",
            "the engine may serve other weights under its name; remove it and add it again",
        )
    return answer


def prove_mixed(ask: Ask, alone: Mapping[str, Canary], fillers: Sequence[str] = ()) -> None:
    """Ask every model at once; each must answer as it did alone. Raises EngineFailure.

    `fillers` are asked first, so that they hold the slots that the others leave free.

    A batch of another size rounds otherwise, so an answer is not held against its own to the digit: it is a
    mix-up when it agrees with another model's and not with its own.
    """
    for batch in _batches(fillers):
        _ask_at_once(ask, batch)
    for batch in _batches([model for model in alone for _ in range(COPIES)]):
        answers = _ask_at_once(ask, batch)
        for model, answer in zip(batch, answers, strict=True):
            like = [other for other, own in alone.items() if answer.agrees(own)]
            if like and model not in like:
                raise EngineFailure(
                    f"in a mixed batch {model} answers as {like[0]} does",
                    "this build of vLLM mixes adapters up; nothing that it answers could be trusted",
                )


def _batches(models: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(models), MOST_IN_BATCH):
        yield models[start : start + MOST_IN_BATCH]


def _ask_at_once(ask: Ask, models: Sequence[str], system: str = "") -> list[Canary]:
    with ThreadPoolExecutor(len(models)) as threads:
        return list(threads.map(lambda model: ask(model, system), models))


def _side_by_side(
    ask: Ask, base: str, adapter_id: str, system: str
) -> tuple[Sequence[Canary], Sequence[Canary]]:
    answers = _ask_at_once(ask, [base, adapter_id] * COPIES, system)
    return answers[::2], answers[1::2]


def _spread(answers: Sequence[Canary]) -> float:
    return max(answers[0].distance(other) for other in answers)


def _nearest(ask: Ask, model: str, known: Canary) -> float:
    """One more answer's distance: a single one may have met an odd batch."""
    return ask(model, "").distance(known)


def canary(url: str, model: str, system: str) -> Canary:
    """A greedy completion with log-probabilities; plain text, so that no chat template is needed."""
    body = {
        "model": model,
        "prompt": f"{system}\n{TEXT}",
        "max_tokens": TOKENS,
        "temperature": 0,
        "logprobs": 1,
        "seed": 0,
    }
    return read_canary(model, call(f"{url}/v1/completions", body))


def read_canary(model: str, answer: object) -> Canary:
    """Take tokens and log-probabilities out of a completion. Raises EngineFailure."""
    choices = answer.get("choices") if isinstance(answer, Mapping) else None
    first = choices[0] if isinstance(choices, list) and choices else None
    if isinstance(answer, Mapping) and answer.get("model") not in (None, model):
        raise EngineFailure(f"{model}: the engine answered as {answer.get('model')}")
    logprobs = first.get("logprobs") if isinstance(first, dict) else None
    if isinstance(logprobs, dict):
        tokens, values = logprobs.get("tokens"), logprobs.get("token_logprobs")
        if isinstance(tokens, list) and isinstance(values, list) and tokens and len(tokens) == len(values):
            return Canary(tuple(map(str, tokens)), tuple(float(value) for value in values))
    raise EngineFailure(f"{model}: the engine's first completion is empty")
