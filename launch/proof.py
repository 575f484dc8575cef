"""Ready means proven: real completions on base and adapters, each adapter changes the answer, and a batch
of all of them mixes nobody's answer with another's."""

from __future__ import annotations

import http.client
import json
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from gateway.errors import ConfigError, EngineFailure

TOKENS = 8
MIXED_COPIES = 2
"""Requests of each model in the mixed batch."""
MIXED_NOISE = 0.1
"""Log-probability; between a batch of one and of 18 in bfloat16 the first token's moved by less."""
SAME_WITHIN = 1e-6  # log-probabilities; what an adapter without effect leaves exactly as it was
REQUEST_TIMEOUT_S = 300.0
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

    def same_as(self, other: Canary) -> bool:
        return self.tokens == other.tokens and all(
            abs(mine - theirs) <= SAME_WITHIN
            for mine, theirs in zip(self.logprobs, other.logprobs, strict=True)
        )


@dataclass(frozen=True)
class Subject:
    """One adapter to prove."""

    key: str  # its key in the configuration
    path: str
    id: str
    system: str


def is_healthy(url: str) -> bool:
    """Whether /health answers 200."""
    try:
        with urllib.request.urlopen(f"{url}/health", timeout=5) as answer:
            return bool(answer.status == 200)
    except (OSError, http.client.HTTPException):
        return False


def prove(url: str, base: str, subjects: Sequence[Subject], on_stage: Callable[[str], None]) -> None:
    """Raises EngineFailure for an engine that does not do as asked, ConfigError for an idle adapter."""
    wanted = {base, *(subject.id for subject in subjects)}
    served = _model_ids(_call(f"{url}/v1/models", None))
    if not wanted <= served:
        raise EngineFailure(f"the engine does not serve {', '.join(sorted(wanted - served))}")
    on_stage(f"proving {base}")
    alone = {base: canary(url, base, "")}
    for subject in subjects:
        on_stage(f"proving {subject.id}")
        alone[subject.id] = canary(url, subject.id, "")
        # One adapter may act only under the system prompt that it was trained with.
        if alone[subject.id].same_as(alone[base]) and canary(url, subject.id, subject.system).same_as(
            canary(url, base, subject.system)
        ):
            mend = "has no effect: it answers exactly as the base does; was it trained and saved?"
            raise ConfigError(subject.key, subject.path, mend)
    if subjects:
        on_stage("proving a mixed batch")
        prove_mixed(url, alone)


def prove_mixed(url: str, alone: Mapping[str, Canary]) -> None:
    """Ask every model at once; each must answer as it did alone. Raises EngineFailure.

    A batch of another size rounds otherwise, so an answer is not held against its own to the digit: it is a
    mix-up when it is another model's to within the noise and not its own.
    """
    models = [model for model in alone for _ in range(MIXED_COPIES)]
    with ThreadPoolExecutor(len(models)) as threads:
        answers = list(threads.map(lambda model: canary(url, model, ""), models))
    for model, answer in zip(models, answers, strict=True):
        nearest = min(alone, key=lambda other: answer.distance(alone[other]))
        if answer.distance(alone[model]) > MIXED_NOISE and answer.distance(alone[nearest]) < MIXED_NOISE:
            raise EngineFailure(
                f"in a mixed batch {model} answers as {nearest} does",
                "this build of vLLM mixes adapters up; nothing that it answers could be trusted",
            )


def canary(url: str, model: str, system: str) -> Canary:
    """A greedy completion with log-probabilities; plain text, so that no chat template is needed."""
    prompt = f"{system}\n{TEXT}"
    body = {
        "model": model,
        "prompt": prompt,
        "max_tokens": TOKENS,
        "temperature": 0,
        "logprobs": 1,
        "seed": 0,
    }
    return read_canary(model, _call(f"{url}/v1/completions", body))


def read_canary(model: str, answer: object) -> Canary:
    """Take tokens and log-probabilities out of a completion."""
    choices = answer.get("choices") if isinstance(answer, Mapping) else None
    first = choices[0] if isinstance(choices, list) and choices else None
    logprobs = first.get("logprobs") if isinstance(first, dict) else None
    if isinstance(logprobs, dict):
        tokens, values = logprobs.get("tokens"), logprobs.get("token_logprobs")
        if isinstance(tokens, list) and isinstance(values, list) and tokens and len(tokens) == len(values):
            return Canary(tuple(map(str, tokens)), tuple(float(value) for value in values))
    raise EngineFailure(f"{model}: the engine's first completion is empty")


def _model_ids(answer: object) -> set[str]:
    data = answer.get("data") if isinstance(answer, Mapping) else None
    return (
        {str(one["id"]) for one in data if isinstance(one, dict) and "id" in one}
        if isinstance(data, list)
        else set()
    )


def _call(url: str, body: Mapping[str, object] | None) -> object:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=REQUEST_TIMEOUT_S) as answer:
            read: object = json.load(answer)
            return read
    except urllib.error.HTTPError as error:
        detail = error.read(2000).decode("utf-8", "replace")
        raise EngineFailure(f"{url}: {error.code}: {detail}") from error
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise EngineFailure(f"{url}: {error}") from error
