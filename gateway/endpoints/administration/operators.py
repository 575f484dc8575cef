"""What a key of the role operator may do and see at `/admin`: its tenant's tasks, nothing of others."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from gateway.admission.api_keys import Principal
from gateway.config.key_settings import namespace_of
from gateway.errors import Forbidden, NotFound, Unavailable

Document = dict[str, object]

COMMANDS = frozenset(
    {
        ("GET", "/adapters"),
        ("POST", "/adapters"),
        ("GET", "/adapters/{task}"),
        ("DELETE", "/adapters/{task}"),
        ("POST", "/adapters/{task}/promote"),
        ("POST", "/adapters/{task}/rollback"),
        ("GET", "/tasks"),
        ("POST", "/tasks/{task}/reset"),
    }
)
TENANT = "tenant"
"""The field that says whose quota holds; no client can send it."""
NOT_READY = "engine_not_ready"


def check_command(principal: Principal, method: str, path: str) -> None:
    """Raises Forbidden (403) for a command that an operator has no part in."""
    if (method, path) not in COMMANDS:
        raise Forbidden(
            f"The key '{principal.name}' is an operator's, which may change the adapters of its tenant "
            "alone; this takes a key of the role admin."
        )


def check_named(principal: Principal, task: object) -> None:
    """Raises NotFound (404) for a task of somebody else, whether there is one or not."""
    if not _own(task, namespace_of(principal.tenant)):
        raise _not_yours(principal, task)


def check_new(principal: Principal, task: object) -> str:
    """The name. Raises Forbidden (403) for one outside the tenant's."""
    namespace = namespace_of(principal.tenant)
    if not isinstance(task, str) or not _own(task, namespace):
        raise Forbidden(
            f"Tasks of '{principal.tenant}' have names that begin with '{namespace}'.", param="task"
        )
    return task


def visible(principal: Principal, status: int, answer: msgspec.Raw, task: str | None) -> object:
    """Of the control plane's answer, what concerns the tenant; all of it where that is of one `task`.

    Raises NotFound (404), and Unavailable (503) where no engine is ready.
    """
    if status == NotFound.status:
        raise _not_yours(principal, task)  # the control plane's own words name every task
    if status == Unavailable.status and _code_of(answer) == NOT_READY:
        # The control plane says why, in words of the engine's own, which may hold paths and secrets.
        raise Unavailable("No engine is ready to prove the adapter on.", code=NOT_READY)
    if status >= 400 or task is not None:
        return answer
    namespace = namespace_of(principal.tenant)
    document = msgspec.json.decode(answer, type=Document)
    return {name: _part(value, namespace) for name, value in document.items()}


def _code_of(answer: msgspec.Raw) -> object:
    error = msgspec.json.decode(answer, type=Document).get("error")
    return error.get("code") if isinstance(error, dict) else None


def _part(value: object, namespace: str) -> object:
    """A mapping or list without what is somebody else's; the engines' own facts stay."""
    if isinstance(value, Mapping):
        return {name: one for name, one in value.items() if _own(name, namespace)}
    if not isinstance(value, list):
        return value
    kept: list[object] = []
    for one in value:
        if not isinstance(one, Mapping):
            kept += [one] if _own(one, namespace) else []
        elif "task" in one:
            kept += [one] if _own(one["task"], namespace) else []
        else:
            kept.append({**one, "loaded": [each for each in one.get("loaded", ()) if _own(each, namespace)]})
    return kept


def _own(name: object, namespace: str) -> bool:
    return isinstance(name, str) and name.startswith(namespace)


def _not_yours(principal: Principal, task: object) -> NotFound:
    return NotFound(f"'{principal.tenant}' has no task '{str(task)[:80]}', or no such version of it.")
