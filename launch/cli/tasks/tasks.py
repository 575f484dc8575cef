"""`lora-gateway tasks …` and `lora-gateway reload`: the configuration, and what commands changed of it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from itertools import chain

import typer

from gateway.config.document import checked_name
from gateway.config.snapshot import TaskStatus
from gateway.errors import LoraGatewayError, Unavailable
from launch.cli.options import DEMO_CONFIG, ConfigOption, JsonOption, StateOption, control_of, show
from launch.cli.task_text import columns, moment, shares, what_requests_see
from launch.cli.tasks.adapters import TaskArgument
from launch.supervisor.control_client import Document, path_of, read_as


def build_tasks_app() -> typer.Typer:
    """`lora-gateway tasks list | diff | reset`."""
    app = typer.Typer(
        no_args_is_help=True,
        add_completion=False,
        help="Tasks as they are wanted, against the configuration.",
    )
    app.command("list")(list_command)
    app.command("diff")(diff_command)
    app.command("reset")(reset_command)
    return app


def list_command(
    config: ConfigOption = DEMO_CONFIG, state_dir: StateOption = None, as_json: JsonOption = False
) -> None:
    """Every task, who answers it, and whether a command changed it."""
    document = control_of(config, state_dir).ask("GET", "/tasks")
    show(document, as_json, lambda: _listed(document))


def _listed(document: Document) -> list[str]:
    changed, removed = set(document["changed"]), read_as(document["removed"], list[str])
    rows = []
    for name, task in read_as(document["tasks"], dict[str, TaskStatus]).items():
        origin = "configuration" if task.configured else "added by command"
        if task.configured and name in changed:
            origin = "changed by command"
        rows.append((name, shares(task), origin, str(task.settings.get("description") or "")))
    rows += [(name, "-", "removed by command", "") for name in removed]
    head = ("TASK", "REQUESTS", "FROM", "DESCRIPTION")
    return columns(head, rows) if rows else ["there are no tasks"]


def diff_command(
    config: ConfigOption = DEMO_CONFIG, state_dir: StateOption = None, as_json: JsonOption = False
) -> None:
    """What commands changed, against the configuration."""
    document = control_of(config, state_dir).ask("GET", "/tasks/diff")
    nothing = ["commands changed nothing: every task is as the configuration has it"]
    show(document, as_json, lambda: [*chain(*map(_difference, document["changes"]))] or nothing)


def reset_command(
    task: TaskArgument,
    config: ConfigOption = DEMO_CONFIG,
    state_dir: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Give up what commands changed of a task: the configuration holds again."""
    document = control_of(config, state_dir).ask(
        "POST", path_of("tasks", checked_name("TASK", task), "reset"), {}
    )

    def lines() -> list[str]:
        seen = what_requests_see(task, read_as(document, TaskStatus))
        return [f"{task} is as the configuration has it", *seen]

    show(document, as_json, lines)


def reload_command(
    config: ConfigOption = DEMO_CONFIG, state_dir: StateOption = None, as_json: JsonOption = False
) -> None:
    """Take the changed configuration into a running launch: whole, or not at all."""
    control = control_of(config, state_dir)
    try:
        document = control.ask("POST", "/reload", {})
    except Unavailable:  # nobody there has refused anything
        raise
    except LoraGatewayError:
        print("refused whole: the configuration from before goes on", file=sys.stderr, flush=True)
        raise
    overridden = [change["task"] for change in control.ask("GET", "/tasks/diff")["changes"]]

    def lines() -> Iterator[str]:
        yield from _reloaded(document) or ["nothing is different"]
        if overridden:
            yield f"as commands left them, until `lora-gateway tasks reset`: {', '.join(overridden)}"

    show({**document, "changed_by_command": overridden}, as_json, lines)


def _reloaded(document: Document) -> list[str]:
    words = {
        "tasks_added": "new tasks",
        "tasks_removed": "tasks gone",
        "adapters_loaded": "adapters loaded",
        "changed": "in force now",
        "at_next_start": "at the next start of the launch",
    }
    return [f"{said}: {', '.join(document[key])}" for key, said in words.items() if document.get(key)]


def _difference(change: Document) -> list[str]:
    """One task that a command changed."""
    configured, wanted = change["configured"], change["wanted"]
    lines = [f"{change['task']}, since {moment(change['since'])}"]
    lines.append(f"- {', '.join(configured) if configured is not None else 'not in the configuration'}")
    if wanted is None:
        return [*lines, "+ removed"]
    for version in wanted:
        role = f"{version['weight']:g} % of the requests"
        if version["id"] == change["shadow"]:
            role = "shadow"
        elif version["id"] == change["previous"]:
            role = "kept for a rollback"
        lines.append(f"+ {version['id']}: {role}")
    return [*lines, *(f"+ {key}: {value}" for key, value in change["settings"].items())]
