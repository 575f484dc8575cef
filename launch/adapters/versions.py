"""What is wanted: tasks, their versions and weights. Pure operations on values; refusals name the mend."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from gateway.config.document import JsonObject
from gateway.errors import SENTENCE, NotFound, RequestError, did_you_mean

WHOLE = 100.0


class Refused(RequestError):
    """A change that cannot be made."""

    status = 409
    kind = "invalid_request_error"
    code = "conflict"


@dataclass(frozen=True)
class Version:
    """One adapter of a task; `weight` is the percentage of the task's requests."""

    id: str
    path: str
    weight: float = WHOLE
    rank: int = 0
    size_bytes: int = 0
    source: str = ""
    added_at: float = 0.0
    settings: JsonObject = field(default_factory=dict)
    """What a command gave its task with it, over the configuration's own."""


@dataclass(frozen=True)
class Wanted:
    """A task as it is wanted. Its versions are in the order in which they came."""

    name: str
    versions: tuple[Version, ...] = ()
    previous: str | None = None
    shadow: str | None = None
    shadow_share: float = 0.0
    changed_at: float | None = None
    """None while it is as the configuration has it."""

    def version(self, adapter_id: str) -> Version | None:
        return next((version for version in self.versions if version.id == adapter_id), None)

    @property
    def active(self) -> Version | None:
        """The oldest version that requests go to; a canary comes after it, whatever its weight."""
        return next((version for version in self.versions if version.weight), None)

    @property
    def settings(self) -> JsonObject:
        """Those of the active version: with a version before its prompt comes back too."""
        return self.active.settings if self.active else {}

    @property
    def candidate(self) -> Version | None:
        """A canary or a shadow: what `promote` would make the active one."""
        active = self.active
        if self.shadow is not None:
            return self.version(self.shadow)
        return next((v for v in reversed(self.versions) if v.weight and v is not active), None)


Desired = Mapping[str, Wanted]


def unknown_task(name: str, known: Iterable[str]) -> NotFound:
    """The 404 that names every task and the nearest spelling."""
    names = list(known)
    hint = did_you_mean(name, names, SENTENCE)
    return NotFound(f"There is no task '{name}'.{hint} Tasks: {', '.join(names) or 'none'}.", param="task")


def ids_of(desired: Desired) -> set[str]:
    """Every id that some task still refers to."""
    return {version.id for wanted in desired.values() for version in wanted.versions}


def add_version(
    wanted: Wanted, version: Version, at: float, *, canary: float | None = None, shadow: float | None = None
) -> Wanted:
    """A new version: all requests go to it, or `canary` percent, or a copy of the share `shadow`.

    Raises Refused where the task has a candidate already, or the version is there.
    """
    active, candidate = wanted.active, wanted.candidate
    if candidate is not None:
        raise Refused(
            f"'{wanted.name}' has the candidate {candidate.id} already; promote it or roll it back first."
        )
    if active is not None and active.id == version.id:
        raise Refused(f"{version.id} is the active version of '{wanted.name}' already.", code="unchanged")
    if active is None and (canary is not None or shadow is not None):
        raise Refused(f"'{wanted.name}' has no active version; add this one without a canary or shadow.")
    # One that was kept for a rollback may come again: it is the newest then.
    kept = [v for v in wanted.versions if v.id != version.id]
    if active is None:
        return replace(wanted, versions=(*kept, replace(version, weight=WHOLE)), changed_at=at)
    if shadow is not None:
        versions = (*kept, replace(version, weight=0.0))
        return replace(wanted, versions=versions, shadow=version.id, shadow_share=shadow, changed_at=at)
    if canary is not None:
        held = [replace(v, weight=WHOLE - canary) if v.id == active.id else v for v in kept]
        return replace(wanted, versions=(*held, replace(version, weight=canary)), changed_at=at)
    return _activate(replace(wanted, versions=(*kept, version)), version.id, active.id, at)


def promote(wanted: Wanted, adapter_id: str | None, at: float) -> Wanted:
    """The candidate (or the version named) gets every request. Raises Refused."""
    candidate = wanted.candidate if adapter_id is None else wanted.version(adapter_id)
    if candidate is None:
        known = ", ".join(version.id for version in wanted.versions) or "none"
        what = f"no version {adapter_id}" if adapter_id else "no candidate"
        raise Refused(f"'{wanted.name}' has {what} to promote; its versions: {known}.")
    active = wanted.active
    if active is not None and active.id == candidate.id and active.weight == WHOLE:
        raise Refused(f"{candidate.id} has every request of '{wanted.name}' already.", code="unchanged")
    former = active.id if active is not None and active.id != candidate.id else wanted.previous
    return _activate(wanted, candidate.id, former, at)


def rollback(wanted: Wanted, at: float) -> Wanted:
    """Without its candidate, or where there is none, back to the version before. Raises Refused."""
    active, candidate = wanted.active, wanted.candidate
    if candidate is not None and active is not None:
        versions = tuple(
            replace(v, weight=WHOLE if v.id == active.id else 0.0)
            for v in wanted.versions
            if v.id in (active.id, wanted.previous) and v.id != candidate.id
        )
        return replace(wanted, versions=versions, shadow=None, shadow_share=0.0, changed_at=at)
    if wanted.previous is None or wanted.version(wanted.previous) is None:
        raise Refused(f"'{wanted.name}' has no earlier version to go back to.")
    return _activate(wanted, wanted.previous, active.id if active else None, at)


def remove_version(wanted: Wanted, adapter_id: str | None, at: float) -> Wanted | None:
    """Without one version, or without the task (None). Raises Refused where requests still go to it."""
    if adapter_id is None:
        return None
    version = wanted.version(adapter_id)
    if version is None:
        known = ", ".join(v.id for v in wanted.versions) or "none"
        raise Refused(f"'{wanted.name}' has no version {adapter_id}; it has: {known}.", status=404)
    if len(wanted.versions) == 1:
        return None
    if version.weight:
        raise Refused(
            f"{adapter_id} answers {version.weight:g} % of '{wanted.name}'; "
            "promote another or roll it back first."
        )
    shadow = None if wanted.shadow == adapter_id else wanted.shadow
    return replace(
        wanted,
        versions=tuple(v for v in wanted.versions if v.id != adapter_id),
        previous=None if wanted.previous == adapter_id else wanted.previous,
        shadow=shadow,
        shadow_share=wanted.shadow_share if shadow else 0.0,
        changed_at=at,
    )


def without_previous(wanted: Wanted) -> Wanted:
    """For a configuration that keeps no earlier version loaded."""
    kept = tuple(v for v in wanted.versions if v.weight or v.id == wanted.shadow)
    return replace(wanted, versions=kept, previous=None)


def overlaid(configured: Desired, changed: Iterable[Wanted], removed: Iterable[str]) -> dict[str, Wanted]:
    """The configuration's tasks with what commands changed: those win until they are reset."""
    desired = dict(configured)
    for wanted in changed:
        desired[wanted.name] = wanted
    for name in removed:
        desired.pop(name, None)
    return desired


def _activate(wanted: Wanted, adapter_id: str, former: str | None, at: float) -> Wanted:
    """Every request to `adapter_id`; `former` stays for a rollback, all others go."""
    versions = tuple(
        replace(v, weight=WHOLE if v.id == adapter_id else 0.0)
        for v in wanted.versions
        if v.id in (adapter_id, former)
    )
    return replace(wanted, versions=versions, previous=former, shadow=None, shadow_share=0.0, changed_at=at)
