"""The supervisor as whatever it runs sees it: engines' keepers, adapters on their way in, and reloads."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Protocol

from gateway.config.document import Config
from launch.adapters.check import Adapter
from launch.adapters.versions import Desired, Version, Wanted


class SupervisorInterface(Protocol):
    """`launch.supervisor.supervisor.Supervisor`, or a test's own. What keeps a change raises Unavailable."""

    @property
    def config(self) -> Config:
        """The one in force, with the live sections of the last reload."""

    @property
    def desired(self) -> Desired:
        """What is wanted of each task, by the configuration and commands together."""

    @property
    def configured(self) -> Desired:
        """What the configuration alone wants."""

    broken: dict[str, str]
    """Ids whose copy was damaged when this began, with what to do; they are not loaded."""

    @property
    def wanted_versions(self) -> list[Version]:
        """Every adapter that is to be loaded now."""

    def wanted_on(self, engine: str) -> list[Version]:
        """Of those, what that engine is to have."""

    def changed(self) -> None:
        """Something that the gateways should know is different."""

    def hurried(self) -> bool:
        """A person asked twice for the end."""

    async def quiet(self, timeout_s: float, engine: str) -> bool:
        """Wait until no gateway has a request in flight; False where some had after `timeout_s`.

        Where other engines serve on, those on this one are meant, and they have all of their time.
        """

    def system_of(self, version: Version) -> str:
        """The system prompt that its task has with this version, or empty."""

    def fingerprint(self, adapter_id: str, build: str) -> str | None:
        """How the adapter was proven on that build, as JSON; None where it was not."""

    def keep_fingerprint(self, adapter_id: str, build: str, canary: str) -> None:
        """For later starts; on a full disk it is kept once there is room."""

    def repeats(self, setup: str) -> str | None:
        """How engines of that set-up repeated themselves, as JSON; None where none was seen."""

    def keep_repeats(self, setup: str, repeats: str) -> None:
        """For later starts; on a full disk it is left out."""

    def take(
        self,
        task: str,
        source: str,
        key: str,
        on_stage: Callable[[str], None],
        expect: Callable[[str], None],
    ) -> Adapter:
        """Fetch, check and copy one adapter; blocking. Raises ConfigError.

        `expect` is told the id as soon as it is known, before a copy that is there already is relied on.
        """

    def expect(self, adapter_id: str, wanted: bool) -> None:
        """An id on its way in is loaded by every engine that starts meanwhile, though no task has it yet."""

    def commit(self, wanted: Wanted) -> None:
        """Keep a task as a command left it, and publish it."""

    def commit_removed(self, name: str) -> None:
        """Keep that a command removed the task, and publish it."""

    def commit_reset(self, name: str) -> None:
        """Forget what commands changed of the task, and publish it."""

    def adopt(self, config: Config, configured: Desired) -> None:
        """Go by this configuration, and by the tasks that it wants, from now on. Raises ConfigError."""

    def retire(self, ids: Collection[str]) -> None:
        """Unload those of them that nobody wants, once no request is on them."""
