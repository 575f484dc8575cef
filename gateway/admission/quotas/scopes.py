"""Which limits a request falls under: its key's, its tenant's, its task's and the whole gateway's."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from gateway.config.document import Config
from gateway.config.key_settings import KeyConfig
from gateway.config.limit_settings import LimitConfig


class Bounds(NamedTuple):
    """Of `LimitConfig` what every request is held against.

    As floats, which is what is counted: CPython compares an integer with one some digits at a time.
    """

    requests_per_minute: float | None
    tokens_per_minute: float | None
    max_in_flight: float | None
    tokens_per_day: float | None
    tokens_per_month: float | None


@dataclass(frozen=True, slots=True)
class Scope:
    """One account and its bounds."""

    account: str
    """Its name in the account book."""
    said: str
    """How an error calls it."""
    limits: LimitConfig
    bounds: Bounds = field(init=False)

    def __post_init__(self) -> None:
        found = (getattr(self.limits, name) for name in Bounds._fields)
        object.__setattr__(self, "bounds", Bounds(*(None if one is None else float(one) for one in found)))


class Scopes:
    """Which limits a key's request to a model falls under, by one configuration."""

    def __init__(self, config: Config) -> None:
        self._keys = config.keys
        self._tenants = config.tenants
        self._tasks: Mapping[str, LimitConfig | None] = {
            name: task.limits for name, task in config.tasks.items()
        } | {name: pipeline.limits for name, pipeline in config.pipelines.items()}
        self._whole = config.gateway.limits
        keys = self._keys.values()
        limits = [
            self._whole,
            *self._tasks.values(),
            *(key.limits for key in keys),
            *(one for key in keys for one in key.task_limits.values()),
            *(tenant.limits for tenant in self._tenants.values()),
        ]
        self.any = any(one is not None and one.bounds_anything for one in limits)
        """Whether anything is bounded at all."""

    def of(self, name: str, model: str) -> tuple[Scope, ...]:
        """The narrowest first; empty where nothing is bounded. `name` is a key's, empty for none."""
        key = self._keys.get(name)
        own = [*_on_model(name, key, model), *_in_all(name, key)] if key else []
        tenants = self.of_tenant(key.tenant) if key and key.tenant else []
        return (*own, *tenants, *self.of_models([model]), *self.of_gateway())

    def of_key(self, name: str) -> list[Scope]:
        """A key's own accounts, those on single models included."""
        key = self._keys.get(name)
        if key is None:
            return []
        return [
            *_in_all(name, key),
            *(one for model in key.task_limits for one in _on_model(name, key, model)),
        ]

    def of_tenant(self, name: str) -> list[Scope]:
        """The account of a tenant's keys together."""
        tenant = self._tenants.get(name)
        return _bounding(f"tenant:{name}", f"'{name}'", tenant.limits if tenant else None)

    def of_models(self, names: Iterable[str]) -> list[Scope]:
        """Those of tasks and pipelines."""
        return [
            one for name in names for one in _bounding(f"task:{name}", f"'{name}'", self._tasks.get(name))
        ]

    def of_gateway(self) -> list[Scope]:
        """That of all requests together."""
        return _bounding("gateway", "the whole gateway", self._whole)


def _in_all(name: str, key: KeyConfig) -> list[Scope]:
    return _bounding(f"key:{name}", f"the key '{name}'", key.limits)


def _on_model(name: str, key: KeyConfig, model: str) -> list[Scope]:
    return _bounding(f"key:{name}/{model}", f"the key '{name}' on '{model}'", key.task_limits.get(model))


def _bounding(account: str, said: str, limits: LimitConfig | None) -> list[Scope]:
    """The scope, where anything is bounded in it."""
    return [Scope(account, said, limits)] if limits is not None and limits.bounds_anything else []
