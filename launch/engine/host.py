"""What an engine's keeper needs of the supervisor around it."""

from __future__ import annotations

from typing import Protocol

from gateway.config.document import Config
from launch.adapters.versions import Version


class Host(Protocol):
    """`launch.supervisor.supervisor.Supervisor`, or a test's own."""

    @property
    def config(self) -> Config: ...

    @property
    def wanted_versions(self) -> list[Version]:
        """Every adapter that is to be loaded now."""

    def changed(self) -> None:
        """Something that the gateways should know is different."""

    def system_of(self, version: Version) -> str:
        """The system prompt of the version's task, or empty."""

    def fingerprint(self, adapter_id: str, build: str) -> str | None: ...

    def keep_fingerprint(self, adapter_id: str, build: str, canary: str) -> None: ...

    async def quiet(self, timeout_s: float) -> bool:
        """Wait until no gateway has a request in flight; False where some had after `timeout_s`."""

    def hurried(self) -> bool:
        """A person asked twice for the end."""
