"""Tasks and their versions in words and columns."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from gateway.config.snapshot import TaskStatus, VersionStatus

MB = 1e6


def columns(head: Sequence[str], rows: Sequence[Sequence[str]], figures: int = 0) -> list[str]:
    """Lines with aligned columns, the last `figures` of them to the right; nothing is cut off, so that they
    can be searched and piped.
    """
    table = [head, *rows]
    widths = [max(len(row[index]) for row in table) for index in range(len(head))]
    sides = [str.ljust] * (len(head) - figures) + [str.rjust] * figures
    return [
        "  ".join(side(cell, width) for side, cell, width in zip(sides, row, widths, strict=True)).rstrip()
        for row in table
    ]


def role_of(task: TaskStatus, version: VersionStatus) -> str:
    """What a version is to its task: `active`, `canary`, `shadow`, `previous` or `kept`."""
    if task.shadow is not None and task.shadow.id == version.id:
        return "shadow"
    if version.weight:
        active = next(one for one in task.versions if one.weight)
        return "active" if active.id == version.id else "canary"
    return "previous" if task.previous == version.id else "kept"


def share_of(task: TaskStatus, version: VersionStatus) -> str:
    """Which part of the task's requests it gets."""
    if task.shadow is not None and task.shadow.id == version.id:
        return f"copies of {task.shadow.share * 100:g} %"
    return f"{version.weight:g} %"


def shares(task: TaskStatus) -> str:
    """Every version that gets requests, or a copy of them, with its part."""
    served = [version for version in task.versions if role_of(task, version) not in ("previous", "kept")]
    return ", ".join(f"{version.id} {share_of(task, version)}" for version in served) or "nothing"


def what_requests_see(name: str, task: TaskStatus) -> list[str]:
    """Who answers a task's requests now, and what can be done next."""
    roles = {role_of(task, version): version for version in task.versions}
    active, canary, shadow = roles.get("active"), roles.get("canary"), roles.get("shadow")
    if active is None:
        return [f"{name}: no version answers"]
    if canary is not None:
        lines = [f"{name}: {active.weight:g} % of the requests go to {active.id}"]
        lines.append(f"{name}: {canary.weight:g} % go to the canary {canary.id}")
    else:
        lines = [f"{name}: every request goes to {active.id}"]
    if shadow is not None:
        lines.append(f"{name}: {shadow.id} gets {share_of(task, shadow)} of the requests and answers nobody")
    if canary is not None or shadow is not None:
        promote, rollback = f"`lora-gateway adapters promote {name}`", f"`… rollback {name}`"
        lines.append(f"next: {promote} gives it every request, {rollback} ends it")
    elif "previous" in roles:
        before = roles["previous"].id
        lines.append(f"{before} is kept: `lora-gateway adapters rollback {name}` goes back to it")
    return lines


def size_of(version: VersionStatus) -> str:
    return f"{version.size_bytes / MB:.1f} MB"


def moment(unix_s: float | None) -> str:
    """Local time to the second with its offset, as `--expires` reads it; or a dash where there is none."""
    return datetime.fromtimestamp(unix_s).astimezone().isoformat(" ", "seconds") if unix_s else "-"
