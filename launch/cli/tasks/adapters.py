"""`lora-gateway adapters …`: versions of tasks that come and go while requests run."""

from __future__ import annotations

import dataclasses
import os
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from gateway.config.document import checked_name
from gateway.config.snapshot import Operation, Snapshot, TaskStatus, VersionStatus
from gateway.errors import ConfigError, did_you_mean
from launch.adapters.sources import SOURCES
from launch.base.progress import Report, silent, terminal_progress
from launch.cli import completions
from launch.cli.options import (
    DEMO_CONFIG,
    INTERRUPTED,
    ConfigOption,
    JsonOption,
    StateOption,
    control_of,
    show,
)
from launch.cli.task_text import columns, moment, role_of, share_of, size_of, what_requests_see
from launch.cli.tasks.shadow_report import read_report
from launch.supervisor.control_client import Document, path_of, read_as

SHARE = re.compile(r"^(.*): (\d+) %$")
"""A stage of which it is known how far it is."""
PERCENT = re.compile(r"^(\d+(?:\.\d+)?|\.\d+)\s*(%?)$")

TaskArgument = Annotated[
    str,
    typer.Argument(metavar="TASK", help="the task: a public model name", autocompletion=completions.tasks),
]
IdArgument = Annotated[
    str | None,
    typer.Argument(
        metavar="[ID]", help="one version, such as naming@3f2a…", autocompletion=completions.versions
    ),
]


def build_adapters_app() -> typer.Typer:
    """`lora-gateway adapters add | list | show | promote | rollback | remove`."""
    app = typer.Typer(
        no_args_is_help=True,
        add_completion=False,
        help="Add, promote, roll back and remove adapters while requests run.",
    )
    app.command("add")(add_command)
    app.command("list")(list_command)
    app.command("show")(show_command)
    app.command("promote")(promote_command)
    app.command("rollback")(rollback_command)
    app.command("remove")(remove_command)
    return app


def add_command(
    task: TaskArgument,
    source: Annotated[str, typer.Argument(help=SOURCES)],
    canary: Annotated[str | None, typer.Option(help="part of the requests it answers at first: 10%")] = None,
    shadow: Annotated[
        str | None, typer.Option(help="part of the requests it gets a copy of, answering nobody: 5%")
    ] = None,
    system: Annotated[
        str | None,
        typer.Option(help="the task's system prompt from then on; a rollback brings back the one before"),
    ] = None,
    config: ConfigOption = DEMO_CONFIG,
    state_dir: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Fetch, check, load and prove an adapter; then its task points at it. What fails changes nothing."""
    fields: Document = {"task": checked_name("TASK", task), "source": absolute_source(source)}
    if canary is not None:
        fields["canary"] = canary_percent(canary)
    if shadow is not None:
        fields["shadow"] = shadow_share(shadow)
    if system is not None:
        fields["system"] = system
    control = control_of(config, state_dir)
    _note_new_task(task, list(control.ask("GET", "/adapters")["tasks"]))
    began = time.monotonic()
    try:
        with (
            terminal_progress(quiet=as_json) as report,
            control.watched(_Stages(task, fields["source"], report).heed),
        ):
            answer = control.ask("POST", "/adapters", fields)
    except KeyboardInterrupt:
        _said_as_it_goes_on(task)
        raise typer.Exit(INTERRUPTED) from None
    took_s = round(time.monotonic() - began, 2)

    def lines() -> Iterator[str]:
        status = read_as(answer, TaskStatus)
        added = next((one for one in status.versions if one.id == answer["id"]), VersionStatus(answer["id"]))
        yield f"{added.id}: rank {added.rank}, {size_of(added)}, loaded and proven in {took_s:.1f} s"
        yield from (f"warning: {warning}" for warning in answer.get("warnings", ()))
        yield from what_requests_see(task, status)

    show({**answer, "took_s": took_s}, as_json, lines)


def list_command(
    config: ConfigOption = DEMO_CONFIG, state_dir: StateOption = None, as_json: JsonOption = False
) -> None:
    """Every version of every task, what is on its way in, and what is on its way out."""
    document = control_of(config, state_dir).ask("GET", "/adapters")
    show(document, as_json, lambda: _listed(document))


def _listed(document: Document) -> list[str]:
    tasks = read_as(document["tasks"], dict[str, TaskStatus])
    head = ("TASK", "VERSION", "ROLE", "REQUESTS", "STATE", "RANK", "SIZE", "SOURCE")
    rows = [(name, *_cells(task, version)) for name, task in tasks.items() for version in task.versions]
    lines = columns(head, rows) if rows else ["there are no adapters"]
    for task in tasks.values():
        lines += [f"{one.id} failed: {one.reason}" for one in task.versions if one.reason]
    for one in read_as(document["operations"], list[Operation]):
        since = moment(one.started_at)
        lines.append(f"on its way in: {one.task} from {one.source}: {one.stage}, since {since}")
    for adapter_id in read_as(document["retiring"], list[str]):
        lines.append(f"on its way out: {adapter_id}, once no request needs it")
    return lines


def show_command(
    task: TaskArgument,
    config: ConfigOption = DEMO_CONFIG,
    state_dir: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """One task: its versions with all that is known of them, and how its shadow's answers compare."""
    control = control_of(config, state_dir)
    document = control.ask("GET", path_of("adapters", checked_name("TASK", task)))
    compared = read_report(control.state_dir, task, (document.get("shadow") or {}).get("id"))
    report = dataclasses.asdict(compared) if compared else None
    told = compared.lines() if compared else []
    show({**document, "shadow_report": report}, as_json, lambda: [*_known_of(task, document), *told])


def _known_of(task: str, document: Document) -> list[str]:
    status = read_as(document, TaskStatus)
    loaded_on = read_as(document["loaded_on"], dict[str, list[str]])
    lines = what_requests_see(task, status)
    for key in ("description", "system"):
        if status.settings.get(key):
            lines.append(f"{key}: {status.settings[key]}")
    if not status.configured:
        lines.append("added by command; the configuration does not know it")
    for one in status.versions:
        lines += [
            f"{one.id}: {role_of(status, one)}, {one.state}{f', {one.reason}' if one.reason else ''}",
            f"  rank {one.rank}, {size_of(one)}, fingerprint {one.fingerprint or '-'}",
            f"  loaded on {', '.join(loaded_on.get(one.id, [])) or 'no engine'}",
            f"  from {one.source or '-'}, added {moment(one.added_at)}",
        ]
    return lines


def promote_command(
    task: TaskArgument,
    adapter_id: IdArgument = None,
    config: ConfigOption = DEMO_CONFIG,
    state_dir: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Give every request to the canary or shadow, or to the version named."""
    fields = {} if adapter_id is None else {"id": adapter_id}
    path = path_of("adapters", checked_name("TASK", task), "promote")
    _show_change(task, control_of(config, state_dir).ask("POST", path, fields), as_json)


def rollback_command(
    task: TaskArgument,
    config: ConfigOption = DEMO_CONFIG,
    state_dir: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """End a canary or shadow; where there is none, go back to the version before."""
    path = path_of("adapters", checked_name("TASK", task), "rollback")
    _show_change(task, control_of(config, state_dir).ask("POST", path, {}), as_json)


def remove_command(
    task: TaskArgument,
    adapter_id: IdArgument = None,
    config: ConfigOption = DEMO_CONFIG,
    state_dir: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Remove the whole task, or one version that no request goes to."""
    path = path_of("adapters", checked_name("TASK", task))
    if adapter_id is not None:
        path += f"?id={path_of(adapter_id)[1:]}"
    document = control_of(config, state_dir).ask("DELETE", path)

    def lines() -> Iterator[str]:
        if not document["task_removed"]:
            yield f"{task}: {adapter_id} is removed; it is unloaded once no request needs it"
            return
        yield f"{task} is removed; whoever asks for it now gets 404"
        if document["configured"]:
            yield f"the configuration has it still: `lora-gateway tasks reset {task}` brings it back"

    show(document, as_json, lines)


def absolute_source(source: str) -> str:
    """A path as the control plane sees it, whose working directory may be another. Raises ConfigError."""
    if "://" in source:
        return source
    place, mark, digest = source.partition("#sha256=")
    path = Path(os.path.expanduser(place)).absolute()
    if not path.exists():
        mend = f"is not there; name {SOURCES}"
        raise ConfigError("SOURCE", str(path), mend)
    return f"{path}{mark}{digest}"


def canary_percent(text: str) -> float:
    """`10%` or `10` as percent, over 0 and under 100. Raises ConfigError."""
    number, percent = _number(text, "--canary")
    if 0 < number < 1 and not percent:
        mend = f"is it {number:g}% or {number * 100:g}%? Write the one that is meant"
        raise ConfigError("--canary", text, mend)
    if not 0 < number < 100:
        raise ConfigError(
            "--canary", text, "must be over 0% and under 100%; without it all requests go there"
        )
    return number


def shadow_share(text: str) -> float:
    """`5%`, `5` or `0.05` as a share, over 0 and up to 1. Raises ConfigError."""
    number, percent = _number(text, "--shadow")
    if number == 1 and not percent:
        raise ConfigError("--shadow", text, "is it 1% or 100%? Write the one that is meant")
    share = number / 100 if percent or number > 1 else number
    if not 0 < share <= 1:
        raise ConfigError("--shadow", text, "must be over 0% and at most 100%")
    return share


def _number(text: str, option: str) -> tuple[float, bool]:
    match = PERCENT.match(text.strip())
    if match is None:
        raise ConfigError(option, text, "must be a part of the requests, such as 10%")
    return float(match[1]), match[2] == "%"


def _note_new_task(task: str, known: list[str]) -> None:
    """Before the load: a misspelt name would make a task that nobody asks for."""
    if task in known:
        return
    hint = did_you_mean(task, known)
    undo = f"`lora-gateway adapters remove {task}` undoes it"
    print(
        f"note: '{task}' will be a new task{hint} (there are: {', '.join(known) or 'none'}; {undo})",
        file=sys.stderr,
    )


class _Stages:
    """Prints how far an adapter has come, one line for each stage, and reports the one that goes on."""

    def __init__(self, task: str, source: str, report: Report) -> None:
        self._task, self._source, self._report = task, source, report
        self._began = time.monotonic()
        self._last = ""
        self._begun = False

    def heed(self, snapshot: Snapshot) -> None:
        """Called in another thread with each snapshot."""
        running = next((one for one in snapshot.operations if one.task == self._task), None)
        if running is None:
            return
        if running.source == self._source:
            self._begun = True
            self._say(running.stage + _engines(snapshot, running.stage))
        elif not self._begun:
            self._say(f"waiting for {running.source}, which is on its way in ({running.stage})")

    def _say(self, stage: str) -> None:
        if stage != self._last:
            self._last = stage
            share = SHARE.search(stage)
            self._report(stage if share is None else share[1], None if share is None else int(share[2]) / 100)
            if share is None or self._report is silent:  # a bar shows how far a download is
                print(f"{time.monotonic() - self._began:6.1f} s  {stage}", file=sys.stderr, flush=True)


def _engines(snapshot: Snapshot, stage: str) -> str:
    """What the engines do that an adapter waits for."""
    if not stage.startswith("waiting"):
        return ""
    states = [" ".join(filter(None, (one.name, one.state, one.stage))) for one in snapshot.engines]
    return f" ({', '.join(states)})"


def _said_as_it_goes_on(task: str) -> None:
    print(
        f"left, but the control plane goes on: once the adapter is proven, requests for {task} get it. "
        f"`lora-gateway adapters list` shows how far it is; then `… rollback {task}` undoes it "
        f"(`… remove {task}` where the task is new).",
        file=sys.stderr,
        flush=True,
    )


def _show_change(task: str, document: Document, as_json: bool) -> None:
    show(document, as_json, lambda: what_requests_see(task, read_as(document, TaskStatus)))


def _cells(task: TaskStatus, version: VersionStatus) -> tuple[str, ...]:
    return (
        version.id,
        role_of(task, version),
        share_of(task, version),
        version.state,
        str(version.rank),
        size_of(version),
        version.source or "-",
    )
