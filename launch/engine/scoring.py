"""A fixed text scored by an engine: the numbers by which its models are told apart.

One prefill gives the log-probability of each of the text's tokens, so that nothing hangs on which token is
chosen. Behind it one fixed token is forced again and again, for what only decoding shows.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from gateway.errors import EngineFailure
from launch.engine.http import call

TEXT = """Members: apple, pear, plum
Definition: a round fruit with firm flesh
apple
truck
[{"members": ["apple"]}, {"members": ["truck"]}]
Q: Which river runs through Paris? A: the Seine.
def area(width: float) -> float:
    return 2 * width
"""
"""Some of each: lists, prose, JSON, a question, code. Some 80 tokens; not one may act on none of them."""
FORCED_TOKEN = 200
"""Any that each vocabulary has."""
OPENING = "A"
"""What a model writes behind where nothing is to be read."""
READ = 1
"""The least that vLLM writes: the text is read then, and what is written is left out of account."""
WRITTEN = 8
WRITTEN_ALONE = 24
"""Tokens that are forced where the engine may not be asked to score a prompt."""


@dataclass(frozen=True)
class Score:
    """Log-probabilities that a model gives to what it reads and to what it writes."""

    read: tuple[float, ...]
    """Of the text's tokens behind the first; empty where it was not asked for them, or may not be."""
    written: tuple[float, ...]
    """Of the forced token, each time; it rounds by how many requests decode with it."""

    @property
    def values(self) -> tuple[float, ...]:
        """What models are told apart by."""
        return self.read or self.written

    @property
    def parts(self) -> tuple[tuple[float, ...], ...]:
        return tuple(part for part in (self.read, self.written) if part)

    def distance(self, other: Score) -> float:
        return distance(self.values, other.values)


def distance(one: Sequence[float], other: Sequence[float]) -> float:
    """The root of the mean square of what two scores of one text differ by; infinite for other lengths."""
    if len(one) != len(other) or not one:
        return math.inf
    return math.dist(one, other) / math.sqrt(len(one))


Ask = Callable[[str, str, int], Score]
"""Model, system prompt and the number of forced tokens → its score: of what it reads for READ, else of what
it writes behind a prompt of one token."""


def asker(url: str, reads: bool, *, key: str = "") -> Ask:
    """Asks the engine at `url`; `reads`: it may score a prompt. What it returns raises EngineFailure."""

    def ask(model: str, system: str, written: int) -> Score:
        text = f"{system}\n{TEXT}" if system else TEXT
        if not reads:
            body = request(model, text, WRITTEN_ALONE)
        elif written > READ:
            body = request(model, OPENING, written)
        else:
            body = request(model, text, READ) | {"prompt_logprobs": 0}
        read = "prompt_logprobs" in body
        score = read_score(model, call(f"{url}/v1/completions", body, key=key), reads=read)
        return replace(score, written=()) if read else score

    return ask


def request(model: str, prompt: str, written: int) -> dict[str, object]:
    """A completion of `written` forced tokens; plain text, so that no chat template is needed."""
    return {
        "model": model,
        "prompt": prompt,
        "max_tokens": written,
        "temperature": 0,
        "seed": 0,
        "logprobs": 1,
        "allowed_token_ids": [FORCED_TOKEN],
        "ignore_eos": True,
    }


def read_score(model: str, answer: object, *, reads: bool) -> Score:
    """Take the log-probabilities out of a completion. Raises EngineFailure."""
    choices = answer.get("choices") if isinstance(answer, Mapping) else None
    first = choices[0] if isinstance(choices, list) and choices else None
    if isinstance(answer, Mapping) and answer.get("model") not in (None, model):
        raise EngineFailure(f"{model}: the engine answered as {answer.get('model')}")
    if not isinstance(first, dict):
        raise EngineFailure(f"{model}: the engine's completion is empty")
    logprobs = first.get("logprobs")
    found = logprobs.get("token_logprobs") if isinstance(logprobs, dict) else None
    written = _numbers(model, found if isinstance(found, list) else [])
    read = _numbers(model, _of_prompt(first.get("prompt_logprobs"))) if reads else ()
    if not written or (reads and not read):
        raise EngineFailure(f"{model}: the engine's completion has no log-probabilities")
    return Score(read, written)


def _of_prompt(positions: object) -> list[object]:
    """The text's own tokens; the first has no log-probability."""
    if not isinstance(positions, list):
        return []
    tokens = [next(iter(position.values()), None) for position in positions if isinstance(position, dict)]
    return [token.get("logprob") if isinstance(token, dict) else None for token in tokens]


def _numbers(model: str, values: Sequence[object]) -> tuple[float, ...]:
    numbers = [float(value) for value in values if isinstance(value, int | float) and math.isfinite(value)]
    if len(numbers) != len(values):
        raise EngineFailure(f"{model}: the engine's log-probabilities are no numbers")
    return tuple(numbers)


@dataclass(frozen=True)
class ProofScores:
    """What an adapter scored when it was proven, and what its base did beside it."""

    own: Score
    base: Score
    moved: float
    """How far its scores lay from each other; 0 where one came again to the digit."""

    @property
    def fingerprint(self) -> str:
        """Twelve hex digits over the digits."""
        return hashlib.sha256(repr(self.own.values).encode()).hexdigest()[:12]

    def to_json(self) -> str:
        scores = {"own": [self.own.read, self.own.written], "base": [self.base.read, self.base.written]}
        return json.dumps({"form": FORM, "behind": BEHIND, "moved": self.moved, **scores})

    def unwritten(self) -> ProofScores:
        """As before the adapter was asked to write."""
        return replace(self, own=replace(self.own, written=()))

    @classmethod
    def from_json(cls, text: str) -> ProofScores | None:
        """None for what another release wrote: its text was another."""
        document = json.loads(text)
        if document.get("form") != FORM:
            return None
        own, base = (Score(*(tuple(part) for part in document[name])) for name in ("own", "base"))
        found = cls(own, base, document["moved"])
        # Where the text is read, what was written behind another prompt compares with nothing.
        return found.unwritten() if own.read and document.get("behind") != BEHIND else found


FORM = hashlib.sha256(f"{TEXT}|{FORCED_TOKEN}|{WRITTEN_ALONE}".encode()).hexdigest()[:12]
"""Scores are comparable within one."""
BEHIND = f"{OPENING}|{WRITTEN}"
"""And what was written where the text was read too, within one of these."""
