"""Ready means proven: each adapter changes what the base scores, each scores as when it was proven first, and
a batch of all of them mixes nobody's answer with another's.

Base and adapter are asked side by side, round after round, until the error is small enough
(`Repeats.rounds`).
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

from gateway.errors import ConfigError, EngineFailure
from launch.engine.repeats import Remembered, Repeats
from launch.engine.rounds import CLEAR, Rounds
from launch.engine.scoring import READ, WRITTEN, Ask, ProofScores, Score, distance

COMPANIES = (2, 4, 8)
"""How many copies of the base are asked at once, to see whether that moves a score."""
COPIES = 2
"""Of each model in a mixed batch."""
MOST_IN_BATCH = 16
FILLING = 2
"""Tokens that are forced where only the slot matters."""


@dataclass(frozen=True)
class Subject:
    """One adapter to prove: where it lies, its id, and the system prompt to ask it with."""

    key: str  # its key in the configuration, or the command's word for it
    path: str
    id: str
    system: str


def measure_base(ask: Ask, base: str, before: Remembered | None = None) -> Repeats:
    """How the engine repeats itself; a base that scores as is remembered need not be asked often.

    Raises EngineFailure.
    """
    scores = _at_once(ask, [base] * COMPANIES[0], "", READ)
    if before is not None and all(score.values == before.usual for score in scores):
        return Repeats(scores, before)
    return Repeats(
        [*scores, *(one for count in COMPANIES[1:] for one in _at_once(ask, [base] * count, "", READ))]
    )


def prove_adapter(
    ask: Ask, base: str, subject: Subject, repeats: Repeats, known: ProofScores | None
) -> ProofScores:
    """What the adapter scores. Raises ConfigError where it has no effect, EngineFailure where it does not
    score what is `known` of it.
    """
    plain = rounds = compare(ask, base, subject.id, "", repeats, known)
    if plain.acts or plain.is_again(known):
        repeats.note_adapter(plain.own)  # not before: what is to be proven is no evidence for itself
    if known is not None and plain.is_again(known):
        return known
    # One adapter may act only under the system prompt that it was trained with.
    if not plain.acts and subject.system:
        rounds = compare(ask, base, subject.id, subject.system, repeats)
    if rounds.same:
        mend = "has no effect: it scores a text exactly as the base does; was it trained and saved?"
        raise ConfigError(subject.key, subject.path, mend)
    if not rounds.acts:
        mend = (
            "has an effect that cannot be told from this engine's own rounding: in log-probability it is "
            f"{rounds.between:.4f} from the base, and one model's answers differ by {rounds.within:.4f}"
        )
        raise ConfigError(subject.key, subject.path, mend)
    if known is not None and not is_known(plain, known):
        again = compare(ask, base, subject.id, "", repeats)
        plain = replace(plain, base=plain.base + again.base, own=plain.own + again.own)
        if not is_known(plain, known):
            raise EngineFailure(
                f"{subject.id} does not answer as it did when it was proven first",
                "the engine may serve other weights under its name; remove it and add it again",
            )
    return plain.kept()


def prove_together(
    ask: Ask, base: str, known: Mapping[str, ProofScores | None], repeats: Repeats
) -> dict[str, ProofScores]:
    """Of the adapters, each with what is known of it, those that are proven in rounds that they share.

    Such rounds only confirm: an adapter of which anything in them is not as it should be is to be proven by
    itself, for what was wrong may be another's. Raises EngineFailure.
    """
    proven: dict[str, ProofScores] = {}
    kept = {name: scores for name, scores in known.items() if scores is not None}
    if kept:
        found = _round(ask, base, dict.fromkeys(kept), "", repeats)
        proven = {name: kept[name] for name, rounds in found.items() if rounds.is_again(kept[name])}
    # What nothing is known of is asked once with no other adapter in the batch: if the engine took one for
    # another in all shared rounds, they would agree with each other.
    found = {}
    for name in [one for one in known if one not in proven]:
        found |= _round(ask, base, {name: None}, "", repeats)
    while going := {name: one for name, one in found.items() if one.steady and not (one.same or one.acts)}:
        found |= _round(ask, base, going, "", repeats)
    for name, rounds in found.items():
        if rounds.steady and rounds.acts and (name not in kept or is_known(rounds, kept[name])):
            proven[name] = rounds.kept()
            repeats.note_adapter(rounds.own)
    return proven


def compare(
    ask: Ask, base: str, adapter_id: str, system: str, repeats: Repeats, known: ProofScores | None = None
) -> Rounds:
    """Rounds until it is known whether the adapter acts. Raises EngineFailure."""
    rounds = None
    while rounds is None or (rounds.go_on and not (rounds.same or rounds.acts or rounds.is_again(known))):
        rounds = _round(ask, base, {adapter_id: rounds}, system, repeats)[adapter_id]
    return rounds


def _round(
    ask: Ask, base: str, so_far: Mapping[str, Rounds | None], system: str, repeats: Repeats
) -> dict[str, Rounds]:
    """One round more of base and adapters, or of two or three of the one adapter where all is steady."""
    models = [base, *so_far]
    (first, *others) = so_far.values()
    if first is not None and not others and first.missing > 1 and not system:
        # Three where two would leave a single one, beside which the base would be asked again.
        models = [*so_far] * (3 if first.missing == 3 else 2)
    random.shuffle(models)  # so that none has the better place in the engine's queue
    scores = _at_once(ask, models, system, READ)
    found = {
        name: tuple(s for m, s in zip(models, scores, strict=True) if m == name) for name in {base, *so_far}
    }
    before = {name: ((), ()) if one is None else (one.base, one.own) for name, one in so_far.items()}
    if not system:
        repeats.note(found[base])
    return {
        name: Rounds(theirs + found[base], own + found[name], repeats.rounds, repeats.usual)
        for name, (theirs, own) in before.items()
    }


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


def fill_slots(ask: Ask, fillers: Sequence[str]) -> None:
    """Ask each for a little, so that they hold the slots that others leave free. Raises EngineFailure."""
    for batch in _batches(fillers):
        _at_once(ask, batch, "", FILLING)


def prove_mixed(ask: Ask, read: Mapping[str, Score], wrote: Mapping[str, Score]) -> dict[str, list[Score]]:
    """Ask every model at once; each must read, then write, as it did in its own company. What they read.

    `read` is empty where the engine may not be asked for that. Raises EngineFailure.
    """
    found: dict[str, list[Score]] = {model: [] for model in read}
    for alone, written in ((read, READ), (wrote, WRITTEN)):
        for batch in _batches([model for model in alone for _ in range(COPIES)]):
            for model, answer in zip(batch, _at_once(ask, batch, "", written), strict=True):
                like = mistaken_for(answer, model, alone)
                if like:
                    raise EngineFailure(
                        f"in a mixed batch {model} answers as {like} does",
                        "this build of vLLM mixes adapters up; nothing that it answers could be trusted",
                    )
                if written == READ:
                    found[model].append(answer)
    return found


def in_company(ask: Ask, model: str) -> Score:
    """What a model writes beside a copy of its own request. Raises EngineFailure."""
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
