"""Proofs again and again on one engine, and the errors among them; traffic beside them."""

from __future__ import annotations

import random
import shutil
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import TracebackType

from gateway.errors import ConfigError, EngineFailure, LoraGatewayError
from launch.engine.canary import (
    Subject,
    compare,
    in_company,
    is_known,
    measure_base,
    prove_adapter,
    prove_mixed,
)
from launch.engine.http import call, load_adapter
from launch.engine.repeats import Repeats
from launch.engine.rounds import Rounds
from launch.engine.scoring import Ask, ProofScores, Score, asker
from launch.simulation.figures import percentile

MIXED_EVERY = 10
"""Trials for each mixed batch, which takes as long as some proofs."""
WEIGHTS = "adapter_model.safetensors"
TOKENS = (20, 60)
WORDS = (5, 40)
"""Least and most of what a client asks for, and of its prompt."""


@dataclass(frozen=True)
class Loaded:
    """The ids of the adapters that are loaded on the engine, by how they were made."""

    weak: Sequence[str]
    untrained: Sequence[str]


@dataclass
class Errors:
    """What went wrong, of so many."""

    in_flight: int
    proofs: int = 0
    weak_refused: int = 0
    untrained_accepted: int = 0
    known_refused: int = 0
    others_held: int = 0
    others_accepted: int = 0
    mixed_batches: int = 0
    mixups_missed: int = 0
    mixups_seen_without: int = 0
    asked: int = 0
    odd: int = 0
    scores: list[int] = field(default_factory=list)
    took_s: list[float] = field(default_factory=list)

    @property
    def wrong(self) -> int:
        refused = self.weak_refused + self.known_refused + self.mixups_seen_without
        return refused + self.untrained_accepted + self.others_accepted + self.mixups_missed

    @property
    def figures(self) -> dict[str, object]:
        counts = {name: value for name, value in asdict(self).items() if name not in ("scores", "took_s")}
        middle_s, late_s = (round(percentile(self.took_s, share), 2) for share in (0.5, 0.99))
        scores = sum(self.scores) / len(self.scores)
        return {**counts, "scores": scores, "proof_p50_s": middle_s, "proof_p99_s": late_s}


def scaled(folder: Path, target: Path, scale: float) -> None:
    """A copy of an adapter whose lora_B is so much smaller. Raises ConfigError without torch."""
    try:
        from safetensors.torch import load_file, save_file
    except ImportError as error:
        mend = "install the engine's packages, which bring it"
        raise ConfigError("bench", str(error.name), mend) from error
    target.mkdir(parents=True)
    shutil.copy(folder / "adapter_config.json", target)
    tensors = load_file(folder / WEIGHTS)
    changed = {
        name: (tensor * scale).to(tensor.dtype) if ".lora_B." in name else tensor
        for name, tensor in tensors.items()
    }
    save_file(changed, target / WEIGHTS, metadata={"format": "pt"})


def load_scaled(url: str, folders: Sequence[Path], scratch: Path, scale: float, key: str) -> Loaded:
    """A weak and an untrained copy of each adapter, on the engine. Raises ConfigError and EngineFailure."""
    loaded: dict[str, list[str]] = {"weak": [], "untrained": []}
    for kind, factor in (("weak", scale), ("untrained", 0.0)):
        for folder in folders:
            name = f"{kind}-{folder.name}"
            scaled(folder, scratch / name, factor)
            load_adapter(url, name, scratch / name, key=key)
            loaded[kind].append(name)
    return Loaded(loaded["weak"], loaded["untrained"])


def try_proofs(
    url: str,
    base: str,
    loaded: Loaded,
    in_flight: int,
    repeats: int,
    at_once: int = 1,
    *,
    key: str,
    tried: Callable[[], None] = lambda: None,
) -> Errors:
    """`repeats` proofs of weak adapters and of untrained ones in turn. Raises EngineFailure.

    `tried` is called after each, in its thread.
    """
    ask = asker(url, reads=True, key=key)
    repeating = measure_base(ask, base)
    errors = Errors(in_flight)
    known = {
        name: prove_adapter(ask, base, Subject("bench", "", name, ""), repeating, None)
        for name in loaded.weak
    }
    alone = Alone(
        {base: repeating.usual, **{name: scores.own for name, scores in known.items()}},
        {name: in_company(ask, name) for name in (base, *loaded.weak)},
    )
    trials = Trials(ask, base, loaded, known, repeating, errors)

    def one(number: int) -> None:
        trials.run(number)
        tried()

    with ThreadPoolExecutor(at_once) as threads:
        # Listed, since what a thread raised is raised only where its result is taken.
        list(threads.map(one, range(repeats)))
    for number in range(-(-repeats // MIXED_EVERY)):
        _try_mixed(ask, alone, errors, random.Random(number))
    errors.asked, errors.odd = repeating.asked, repeating.odd
    return errors


@dataclass(frozen=True)
class Trials:
    """Shared by the threads that make them."""

    ask: Ask
    base: str
    loaded: Loaded
    known: Mapping[str, ProofScores]
    repeating: Repeats
    errors: Errors
    lock: threading.Lock = field(default_factory=threading.Lock)

    def run(self, number: int) -> None:
        """A weak adapter and an untrained one. Raises EngineFailure."""
        weak = self.loaded.weak[number % len(self.loaded.weak)]
        untrained = self.loaded.untrained[number % len(self.loaded.untrained)]
        began = time.perf_counter()
        rounds = compare(self.ask, self.base, weak, "", self.repeating)
        took_s = time.perf_counter() - began
        nothing = compare(self.ask, self.base, untrained, "", self.repeating)
        with self.lock:
            self._count(weak, rounds, nothing, took_s)

    def _count(self, weak: str, rounds: Rounds, nothing: Rounds, took_s: float) -> None:
        errors = self.errors
        errors.proofs += 1
        errors.took_s.append(took_s)
        errors.scores.append(len(rounds.base) + len(rounds.own))
        errors.weak_refused += not rounds.acts
        errors.untrained_accepted += nothing.acts
        errors.known_refused += not is_known(rounds, self.known[weak])
        others = [kept for name, kept in self.known.items() if name != weak]
        errors.others_held += len(others)
        errors.others_accepted += sum(is_known(rounds, kept) for kept in others)


@dataclass(frozen=True)
class Alone:
    """What each model read and wrote in its own company."""

    read: Mapping[str, Score]
    wrote: Mapping[str, Score]


def _try_mixed(ask: Ask, alone: Alone, errors: Errors, chance: random.Random) -> None:
    """A batch as it is, and one in which one model is answered by another's weights."""
    errors.mixed_batches += 1
    errors.mixups_seen_without += _is_mixed(ask, alone)
    victim, instead = chance.sample(list(alone.read), 2)

    def mixed(model: str, system: str, written: int) -> Score:
        return ask(instead if model == victim else model, system, written)

    errors.mixups_missed += not _is_mixed(mixed, alone)


def _is_mixed(ask: Ask, alone: Alone) -> bool:
    try:
        prove_mixed(ask, alone.read, alone.wrote)
    except EngineFailure as failure:
        if "in a mixed batch" not in str(failure):
            raise
        return True
    return False


class Traffic:
    """So many clients that ask all models without a pause, for the block."""

    def __init__(self, url: str, models: Sequence[str], clients: int, key: str) -> None:
        self._url = url
        self._key = key
        self._models = models
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._client, args=(seed,)) for seed in range(clients)]
        self.failure: LoraGatewayError | None = None

    def __enter__(self) -> Traffic:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Raises EngineFailure where a client met one: the engine was not under load then."""
        self._over.set()
        for thread in self._threads:
            thread.join()
        if self.failure is not None and error is None:
            raise self.failure

    def _client(self, seed: int) -> None:
        chance = random.Random(seed)
        while not self._over.is_set() and self.failure is None:
            body = {
                "model": chance.choice(self._models),
                "prompt": " ".join(str(chance.randrange(1000)) for _ in range(chance.randint(*WORDS))),
                "max_tokens": chance.randint(*TOKENS),
                "ignore_eos": True,
            }
            try:
                call(f"{self._url}/v1/completions", body, key=self._key)
            except EngineFailure as failure:
                self.failure = failure
