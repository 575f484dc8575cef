"""The adapters on one engine: loaded, proven, and unloaded again; what is wanted against what is there."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial

from gateway.errors import ConfigError, EngineFailure, LoraGatewayError
from launch.adapters.versions import Version
from launch.engine.canary import (
    FILLING,
    Subject,
    fill_slots,
    in_company,
    measure_base,
    prove_adapter,
    prove_mixed,
    prove_together,
)
from launch.engine.http import load_adapter, served_models, unload_adapter
from launch.engine.repeats import Remembered, Repeats
from launch.engine.scoring import Ask, ProofScores, Score, asker

LOAD_TRIES = 3
MOST_TOGETHER = 7
"""Adapters in one round, beside the base."""


@dataclass(frozen=True)
class Wanting:
    """An adapter that is to be there, and what its proof takes."""

    version: Version
    key: str
    system: str
    known: str | None
    """How it was proven before, as JSON."""

    @property
    def expected(self) -> ProofScores | None:
        return None if self.known is None else ProofScores.from_json(self.known)

    @property
    def subject(self) -> Subject:
        return Subject(self.key, self.version.path, self.version.id, self.system)


@dataclass(frozen=True)
class EngineCalls:
    """What an engine is asked to do; tests give others."""

    models: Callable[[str], Mapping[str, str]] = served_models
    load: Callable[..., None] = load_adapter
    unload: Callable[[str, str], None] = unload_adapter
    asker: Callable[[str, bool], Ask] = asker

    @classmethod
    def with_key(cls, key: str) -> EngineCalls:
        """To an engine that asks for that key."""
        return cls(
            partial(served_models, key=key),
            partial(load_adapter, key=key),
            partial(unload_adapter, key=key),
            partial(asker, key=key),
        )


class LoadedAdapters:
    """Blocking: call it in a thread, one call at a time.

    A call that nobody waits for any more may go on while the engine's next process is proven: where a node
    was lost, an answer does not come for minutes. What it loads and unloads is of its own process alone.
    """

    def __init__(self, url: str, base: str, calls: EngineCalls | None = None, *, reads: bool = True) -> None:
        """`reads`: the engine may be asked to score a prompt beside other requests."""
        self.url = url
        self._base = base
        self._calls = calls or EngineCalls()
        self._reads = reads
        self._ask = self._calls.asker(url, reads)
        self.repeats: Repeats | None = None
        """How the base repeats itself here, from the engine's start on."""
        self.proven: dict[str, ProofScores] = {}
        self.failed: dict[str, str] = {}
        """Ids that could not be loaded or proven here, with the reason."""
        self.proved_mixed = False
        self.loads: Counter[str] = Counter()
        """How often an adapter was loaded and proven, by why: its first time here, again after a restart of
        the engine, or again after it was unloaded."""
        self._starts = 0
        self._loaded_at: dict[str, int] = {}
        self._paths: dict[str, str] = {}

    def move(self, url: str) -> None:
        """The engine is at another place from now on."""
        self.url = url
        self._ask = self._calls.asker(url, self._reads)

    def answers(self) -> None:
        """The base completes. Raises EngineFailure."""
        self._served()
        self._ask(self._base, "", FILLING)

    def begin(self, before: Remembered | None = None) -> None:
        """The base completes, and how it repeats itself is known. Raises EngineFailure.

        `before`: what engines of the same set-up did.
        """
        self._served()
        self.repeats = measure_base(self._ask, self._base, before)

    def ensure(self, wanting: Wanting) -> ProofScores:
        """Load and prove one adapter. Raises ConfigError or EngineFailure; then it is not there."""
        adapter_id = wanting.version.id
        if adapter_id in self.proven:
            return self.proven[adapter_id]
        starts = self._starts
        try:
            self._load(wanting.version, starts)
            repeats, expected = self._known_repeats(), wanting.expected
            scores = prove_adapter(self._ask, self._base, wanting.subject, repeats, expected)
        except LoraGatewayError as error:
            if starts == self._starts:
                self.failed[adapter_id] = str(error)
                self._discard(adapter_id)
            raise
        self._proved(wanting.version, scores)
        return scores

    def ensure_together(self, wanted: Sequence[Wanting], slots: int | None) -> None:
        """Load adapters and prove in shared rounds those for which that is enough; the others are left to
        `ensure`, which also says what is wrong with one.
        """
        # vLLM puts no more adapters into one batch than it has slots.
        size = min(slots or MOST_TOGETHER, MOST_TOGETHER)
        fresh, starts = [one for one in wanted if one.version.id not in self.proven], self._starts
        for start in range(0, len(fresh), size):
            some: dict[str, Wanting] = {}
            for one in fresh[start : start + size]:
                with suppress(EngineFailure):  # it comes again where this adapter is tried by itself
                    self._load(one.version, starts)
                    some[one.version.id] = one
            known = {adapter_id: one.expected for adapter_id, one in some.items()}
            with suppress(EngineFailure):  # as well
                found = prove_together(self._ask, self._base, known, self._known_repeats())
                for adapter_id, scores in found.items():
                    self._proved(some[adapter_id].version, scores)

    def prove_mixed(self, slots: int | None) -> None:
        """Everything that is loaded in one batch, while none of the engine's slots is free.

        vLLM's own CPU kernels answer the base from the last slot, which shows only once that is taken; the
        free ones hold copies of an adapter meanwhile. Raises EngineFailure.
        """
        if not self.proven:
            return
        # What one reads is held against what was proven, what it writes against copies of itself.
        repeats = self._known_repeats()
        read = {self._base: repeats.usual}
        read |= {adapter_id: kept.own for adapter_id, kept in self.proven.items()}
        wrote = {model: self._written(model) for model in read}
        with self._copies(max(0, (slots or 0) - len(self.proven))) as copies:
            fill_slots(self._ask, copies)
            found = prove_mixed(self._ask, read if self._reads else {}, wrote)
        repeats.note(found.pop(self._base, []))
        for adapter_id, scores in found.items():
            repeats.note_adapter([read[adapter_id], *scores])
            own = replace(read[adapter_id], written=wrote[adapter_id].written)
            self.proven[adapter_id] = replace(self.proven[adapter_id], own=own)
        self.proved_mixed = True

    def unload(self, adapter_id: str) -> None:
        """Unload an adapter, then forget its proof or failure. Raises EngineFailure and forgets nothing."""
        self._calls.unload(self.url, adapter_id)
        self.proven.pop(adapter_id, None)
        self.failed.pop(adapter_id, None)
        self._paths.pop(adapter_id, None)

    def missing(self) -> set[str]:
        """Proven ids that the engine no longer serves, as after a restart of it. Raises EngineFailure."""
        return set(self.proven) - set(self._calls.models(self.url))

    def forget(self) -> None:
        """The engine is another one from now on."""
        self._starts += 1
        self.proven.clear()
        self.failed.clear()
        self._paths.clear()
        self.repeats = None
        self.proved_mixed = False

    @contextmanager
    def _copies(self, count: int) -> Iterator[list[str]]:
        """So many copies of the adapter that is least like the base, loaded for the block."""
        original = max(self.proven, key=lambda one: self.proven[one].own.distance(self.proven[one].base))
        names = [f"{original}-proof-{number}" for number in range(count)]
        try:
            for name in names:
                self._calls.load(self.url, name, self._paths[original])
            yield names
        finally:
            for name in names:
                self._discard(name)

    def _served(self) -> None:
        if self._base not in self._calls.models(self.url):
            raise EngineFailure(f"the engine does not serve {self._base}")

    def _proved(self, version: Version, scores: ProofScores) -> None:
        adapter_id = version.id
        self.failed.pop(adapter_id, None)
        before = self._loaded_at.get(adapter_id)
        self.loads["first" if before is None else "again" if before == self._starts else "restart"] += 1
        self._loaded_at[adapter_id] = self._starts
        self.proven[adapter_id] = scores
        self._paths[adapter_id] = version.path

    def _written(self, model: str) -> Score:
        """What it wrote in its own company, now or when it was proven first."""
        kept = self.proven.get(model)
        if kept is not None and self._reads and kept.own.written:
            return replace(kept.own, read=())
        return in_company(self._ask, model)

    def _known_repeats(self) -> Repeats:
        if self.repeats is None:
            self.repeats = measure_base(self._ask, self._base)
        return self.repeats

    def _load(self, version: Version, starts: int) -> None:
        for attempt in range(LOAD_TRIES):
            if starts != self._starts:
                raise EngineFailure(f"the engine ended before {version.id} was loaded")
            try:
                self._calls.load(self.url, version.id, version.path)
            except EngineFailure:
                if attempt == LOAD_TRIES - 1:
                    raise
            else:
                break
        if version.id not in self._calls.models(self.url):
            raise EngineFailure(f"the engine does not list {version.id} after loading it")

    def _discard(self, adapter_id: str) -> None:
        try:
            self._calls.unload(self.url, adapter_id)
        except (EngineFailure, ConfigError):
            return  # it may never have been loaded, or the engine is gone
