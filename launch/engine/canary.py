"""Ready means proven: each adapter changes what the base scores, each scores as when it was proven first, and
a batch of all of them mixes nobody's answer with another's.

Base and adapter are asked side by side, round after round, until the error is small enough
(`Repeats.rounds`).
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from gateway.errors import ConfigError, EngineFailure
from launch.engine.repeats import MOST_ROUNDS, Repeats, spread, usual
from launch.engine.scoring import WRITTEN, Ask, ProofScores, Score, distance

COMPANIES = (2, 4, 8)
"""How many copies of the base are asked at once, to see whether that moves a score."""
COPIES = 2
"""Of each model in a mixed batch."""
MOST_IN_BATCH = 16
CLEAR = 4.0
"""What two scores of one model never differ by: so many times what others of its scores do."""

LONGEST = 3 * MOST_ROUNDS


@dataclass(frozen=True)
class Subject:
    """One adapter to prove: where it lies, its id, and the system prompt to ask it with."""

    key: str  # its key in the configuration, or the command's word for it
    path: str
    id: str
    system: str


@dataclass(frozen=True)
class Rounds:
    """Scores of base and adapter, one of each from every round."""

    base: tuple[Score, ...]
    own: tuple[Score, ...]

    @property
    def same(self) -> bool:
        """A score of the adapter's is one of the base's, to the digit: it acts on none of the text."""
        return not {score.values for score in self.base}.isdisjoint(score.values for score in self.own)

    @property
    def between(self) -> float:
        return min(mine.distance(theirs) for mine in self.own for theirs in self.base)

    @property
    def within(self) -> float:
        return max(spread(self.base), spread(self.own))

    def acts(self, needed: int) -> bool:
        """Whether the adapter acts, `needed` being the rounds that this takes where the base repeats itself.

        On an engine that does not, each of the adapter's scores must be further from each of the base's than
        any two of one model are: clearly, or in so many rounds that chance cannot have dealt them out so.
        """
        if self.same:
            return False
        if usual(self.base)[1] >= needed:
            return True
        least = self.within if len(self.base) >= MOST_ROUNDS else CLEAR * self.within
        return len(self.base) >= needed and self.between > least

    @property
    def go_on(self) -> bool:
        """Whether more rounds may tell: longer where the base repeats itself, though not each time."""
        asked = len(self.base)
        return asked < MOST_ROUNDS or (asked < LONGEST and 4 * usual(self.base)[1] > asked)

    def kept(self) -> ProofScores:
        score, times = usual(self.own)
        return ProofScores(score, usual(self.base)[0], 0.0 if times > 1 else spread(self.own))


def measure_base(ask: Ask, base: str) -> Repeats:
    """How the engine repeats itself. Raises EngineFailure."""
    return Repeats([score for count in COMPANIES for score in _at_once(ask, [base] * count, "", WRITTEN)])


def prove_adapter(
    ask: Ask, base: str, subject: Subject, repeats: Repeats, known: ProofScores | None
) -> ProofScores:
    """What the adapter scores. Raises ConfigError where it has no effect, EngineFailure where it does not
    score what is `known` of it.
    """
    # One adapter may act only under the system prompt that it was trained with.
    needed = repeats.rounds
    plain = rounds = compare(ask, base, subject.id, "", needed)
    repeats.note(plain.base)
    if not plain.acts(needed) and subject.system:
        rounds = compare(ask, base, subject.id, subject.system, needed)
    if rounds.same:
        mend = "has no effect: it scores a text exactly as the base does; was it trained and saved?"
        raise ConfigError(subject.key, subject.path, mend)
    if not rounds.acts(needed):
        mend = (
            "has an effect that cannot be told from this engine's own rounding: in log-probability it is "
            f"{rounds.between:.4f} from the base, and one model's answers differ by {rounds.within:.4f}"
        )
        raise ConfigError(subject.key, subject.path, mend)
    if known is not None and not is_known(plain, known):
        again = compare(ask, base, subject.id, "", needed)
        plain = Rounds(plain.base + again.base, plain.own + again.own)
        if not is_known(plain, known):
            raise EngineFailure(
                f"{subject.id} does not answer as it did when it was proven first",
                "the engine may serve other weights under its name; remove it and add it again",
            )
    return plain.kept()


def compare(ask: Ask, base: str, adapter_id: str, system: str, needed: int) -> Rounds:
    """Rounds until it is known whether the adapter acts. Raises EngineFailure."""
    rounds = Rounds((), ())
    while rounds.go_on:
        order = [base, adapter_id]
        random.shuffle(order)  # so that neither has the better place in the engine's queue
        found = dict(zip(order, _at_once(ask, order, system, 1), strict=True))
        rounds = Rounds((*rounds.base, found[base]), (*rounds.own, found[adapter_id]))
        if rounds.same or rounds.acts(needed):
            break
    return rounds


def is_known(rounds: Rounds, known: ProofScores) -> bool:
    """Whether an adapter's scores may come from the weights that gave the `known` one.

    Where the base scores to the digit what it did beside them, so must the adapter. Where it does not, this
    is another machine, and by how much that rounds otherwise is seen from the base.
    """
    if any(score.values == known.own.values for score in rounds.own):
        return True
    now = rounds.kept()
    moved = max(now.moved, known.moved, min(score.distance(known.base) for score in rounds.base))
    return now.own.distance(known.own) <= CLEAR * moved


def prove_mixed(ask: Ask, alone: Mapping[str, Score], fillers: Sequence[str] = ()) -> None:
    """Ask every model at once; each must answer as it did in its own company. Raises EngineFailure.

    `fillers` are asked first, so that they hold the slots that the others leave free.
    """
    for batch in _batches(fillers):
        _at_once(ask, batch, "", 1)
    for batch in _batches([model for model in alone for _ in range(COPIES)]):
        for model, answer in zip(batch, _at_once(ask, batch, "", WRITTEN), strict=True):
            like = mistaken_for(answer, model, alone)
            if like:
                raise EngineFailure(
                    f"in a mixed batch {model} answers as {like} does",
                    "this build of vLLM mixes adapters up; nothing that it answers could be trusted",
                )


def in_company(ask: Ask, model: str) -> Score:
    """A model's answer beside copies of its own request, with what it writes. Raises EngineFailure."""
    return _at_once(ask, [model] * COPIES, "", WRITTEN)[0]


def mistaken_for(answer: Score, model: str, alone: Mapping[str, Score]) -> str:
    """The other model whose answer this is, or empty.

    A batch of another size may round otherwise: it is another's where it is that one's to the digit, or so
    much nearer to it that rounding cannot have moved it there. One adapter under two tasks is no other model:
    nothing tells them apart, and nothing need.
    """
    for part, mine in enumerate(answer.parts):
        own = alone[model].parts[part]
        others = {
            name: score.parts[part]
            for name, score in alone.items()
            if score.parts[part] != own and content_of(name) != content_of(model)
        }
        if mine == own or not others:
            continue
        nearest = min(others, key=lambda name: distance(mine, others[name]))
        if CLEAR * distance(mine, others[nearest]) < distance(mine, own):
            return nearest
    return ""


def content_of(model: str) -> str:
    """The digest in an adapter's id, which two tasks of one adapter share; the base's own name."""
    return model.rpartition("@")[2]


def _batches(models: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(models), MOST_IN_BATCH):
        yield models[start : start + MOST_IN_BATCH]


def _at_once(ask: Ask, models: Sequence[str], system: str, written: int) -> list[Score]:
    with ThreadPoolExecutor(len(models)) as threads:
        return list(threads.map(lambda model: ask(model, system, written), models))
