"""The adapters on one engine: loaded, proven, and unloaded again; what is wanted against what is there."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

from gateway.errors import ConfigError, EngineFailure, LoraGatewayError
from launch.desired import Version
from launch.engine_http import load_adapter, served_models, unload_adapter
from launch.proof import Ask, Canary, Subject, asker, prove_adapter, prove_mixed

LOAD_TRIES = 3


class Fingerprints(Protocol):
    """Where proofs are kept (`launch.store.Store`)."""

    def fingerprint(self, adapter_id: str, base: str) -> str | None: ...

    def keep_fingerprint(self, adapter_id: str, base: str, canary: str) -> None: ...


@dataclass(frozen=True)
class EngineDoor:
    """What is done to an engine; tests give another one."""

    models: Callable[[str], Mapping[str, str]] = served_models
    load: Callable[..., None] = load_adapter
    unload: Callable[[str, str], None] = unload_adapter
    asker: Callable[[str], Ask] = asker


class Residents:
    """Blocking: call it in a thread, one call at a time."""

    def __init__(self, url: str, base: str, build: str, door: EngineDoor | None = None) -> None:
        """`build` names base, type and engine: log-probabilities are only comparable within one."""
        self.url = url
        self._base = base
        self._build = build
        self._door = door or EngineDoor()
        self._ask = self._door.asker(url)
        self.base_canary: Canary | None = None
        self.proven: dict[str, Canary] = {}
        self.failed: dict[str, str] = {}
        """Ids that could not be loaded or proven here, with the reason."""
        self.proved_together = False
        self._paths: dict[str, str] = {}

    def begin(self) -> None:
        """The base completes. Raises EngineFailure."""
        if self._base not in self._door.models(self.url):
            raise EngineFailure(f"the engine does not serve {self._base}")
        self.base_canary = self._ask(self._base, "")

    def ensure(self, version: Version, key: str, system: str, known: str | None) -> Canary:
        """Load and prove one adapter. Raises ConfigError or EngineFailure; then it is not there."""
        adapter_id = version.id
        if adapter_id in self.proven:
            return self.proven[adapter_id]
        try:
            self._load(version)
            subject = Subject(key, version.path, adapter_id, system)
            expected = None if known is None else Canary.from_json(known)
            answer = prove_adapter(self._ask, self._base, subject, expected)
        except LoraGatewayError as error:
            self.failed[adapter_id] = str(error)
            self._discard(adapter_id)
            raise
        self.failed.pop(adapter_id, None)
        self.proven[adapter_id] = answer
        self._paths[adapter_id] = version.path
        return answer

    def prove_together(self, slots: int | None) -> None:
        """Everything that is loaded in one batch, while none of the engine's slots is free.

        vLLM's own CPU kernels answer the base from the last slot, which shows only once that is taken; the
        free ones hold copies of an adapter meanwhile. Raises EngineFailure.
        """
        if not self.proven or self.base_canary is None:
            return
        with self._copies(max(0, (slots or 0) - len(self.proven)), self.base_canary) as copies:
            prove_mixed(self._ask, {self._base: self.base_canary, **self.proven}, copies)
        self.proved_together = True

    def unload(self, adapter_id: str) -> None:
        """Raises EngineFailure."""
        self._door.unload(self.url, adapter_id)
        self.proven.pop(adapter_id, None)
        self.failed.pop(adapter_id, None)
        self._paths.pop(adapter_id, None)

    def missing(self) -> set[str]:
        """Proven ids that the engine no longer serves, as after a restart of it. Raises EngineFailure."""
        return set(self.proven) - set(self._door.models(self.url))

    def forget(self) -> None:
        """The engine is another one from now on."""
        self.proven.clear()
        self.failed.clear()
        self._paths.clear()
        self.base_canary = None
        self.proved_together = False

    @contextmanager
    def _copies(self, count: int, base: Canary) -> Iterator[list[str]]:
        """So many copies of the adapter that is least like the base, loaded for the block."""
        original = max(self.proven, key=lambda one: self.proven[one].distance(base))
        names = [f"{original}-proof-{number}" for number in range(count)]
        try:
            for name in names:
                self._door.load(self.url, name, self._paths[original])
            yield names
        finally:
            for name in names:
                self._discard(name)

    def _load(self, version: Version) -> None:
        for attempt in range(LOAD_TRIES):
            try:
                self._door.load(self.url, version.id, version.path)
            except EngineFailure:
                if attempt == LOAD_TRIES - 1:
                    raise
            else:
                break
        if version.id not in self._door.models(self.url):
            raise EngineFailure(f"the engine does not list {version.id} after loading it")

    def _discard(self, adapter_id: str) -> None:
        try:
            self._door.unload(self.url, adapter_id)
        except (EngineFailure, ConfigError):
            return  # it may never have been loaded, or the engine is gone
