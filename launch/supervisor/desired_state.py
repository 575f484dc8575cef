"""What is wanted, as the configuration and commands together say; every change is kept before it counts."""

from __future__ import annotations

import time

from pydantic import JsonValue

from gateway.config.document import Config, JsonObject, with_sections
from gateway.errors import ConfigError
from launch.adapters.versions import Desired, Version, Wanted, overlaid
from launch.supervisor.database import StateStore

LIVE = ("tasks", "pipelines", "keys", "tenants", "adapters", "placement")
"""Sections of the configuration that take effect at once; a change of any other waits for the next start."""


class DesiredState:
    """The configuration is the first state; what a command changed wins until it is reset."""

    def __init__(self, config: Config, configured: Desired, store: StateStore) -> None:
        """Raises ConfigError where a command has added a task of the base's name."""
        self.config = config
        self.configured = dict(configured)
        self._store = store
        kept = store.changes()
        self._changed = dict(kept.tasks)
        self._removed = dict(kept.removed)
        self._check_base(config)

    @property
    def desired(self) -> Desired:
        return overlaid(self.configured, self._changed.values(), self._removed)

    @property
    def models(self) -> list[str]:
        """Every public model name: base, tasks, pipelines."""
        return [self.config.base.name, *self.desired, *self.config.pipelines]

    @property
    def by_command(self) -> list[Version]:
        """Versions that are known from commands alone."""
        return [version for wanted in self._changed.values() for version in wanted.versions]

    def keep(self, wanted: Wanted) -> None:
        """A task as a command left it; where that is what the configuration says, nothing is changed."""
        if self._is_configured(wanted):
            self.reset(wanted.name)
            return
        self._store.keep(wanted)
        self._changed[wanted.name] = wanted
        self._removed.pop(wanted.name, None)

    def remove(self, name: str) -> None:
        """Without a task, though the configuration may have it."""
        if name in self.configured:  # at the next start it would be back, were it not kept as removed
            at = time.time()
            self._store.keep_removed(name, at)
            self._removed[name] = at
        else:
            self._store.forget(name)
        self._changed.pop(name, None)

    def reset(self, name: str) -> None:
        """As the configuration has it."""
        self._store.forget(name)
        self._changed.pop(name, None)
        self._removed.pop(name, None)

    def adopt(self, config: Config, configured: Desired) -> None:
        """The live sections of another configuration. Raises ConfigError where they do not go with the
        rest as it is until the next start: gateways would refuse them, and whatever comes later. Nor where
        the next start would be refused.
        """
        self._check_base(config)
        self.config = with_sections(self.config, {name: getattr(config, name) for name in LIVE})
        self.configured = dict(configured)

    def settings(self, task: str, version: Version | None) -> JsonObject:
        """The keys of `TaskConfig`, with what a command gave with a version over them."""
        configured = self.config.tasks.get(task)
        settings: JsonObject = (
            configured.model_dump(mode="json", by_alias=True) if configured else {"adapter": ""}
        )
        return {**settings, **(version.settings if version else {})}

    def diff(self) -> list[JsonObject]:
        """What commands changed, against the configuration."""
        changes: list[JsonObject] = []
        for name, wanted in sorted(self._changed.items()):
            if self._is_configured(wanted):  # the configuration says the same since
                continue
            change: JsonObject = {
                "task": name,
                "configured": self._configured_ids(name),
                "wanted": [{"id": v.id, "weight": v.weight} for v in wanted.versions],
                "previous": wanted.previous,
                "shadow": wanted.shadow,
                "settings": dict(wanted.settings),
                "since": wanted.changed_at,
            }
            changes.append(change)
        for name, at in sorted(self._removed.items()):
            if name not in self.configured:
                continue
            changes.append(
                {"task": name, "configured": self._configured_ids(name), "wanted": None, "since": at}
            )
        return changes

    def _check_base(self, config: Config) -> None:
        name = config.base.name
        if name in self._changed:  # gateways refuse a table in which one name means both
            mend = (
                "is a task that a command added or changed: give the base another name, or run "
                f"`lora-gateway adapters remove {name}` first, under the base's old name"
            )
            raise ConfigError("base.name", name, mend)

    def _configured_ids(self, name: str) -> list[JsonValue] | None:
        configured = self.configured.get(name)
        return None if configured is None else [version.id for version in configured.versions]

    def _is_configured(self, wanted: Wanted) -> bool:
        configured, settings = self.configured.get(wanted.name), self.settings(wanted.name, None)
        if configured is None or wanted.previous or wanted.shadow:
            return False
        own = [(version.id, version.weight) for version in wanted.versions]
        return own == [(version.id, version.weight) for version in configured.versions] and all(
            settings.get(key) == value for key, value in wanted.settings.items()
        )
