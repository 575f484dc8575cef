"""`lora-gateway keys …`: made, rotated and revoked while requests run; only digests are ever kept."""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Annotated

import typer

from gateway.config.document import checked_name
from gateway.config.key_settings import Role
from gateway.errors import ConfigError
from launch.cli import completions
from launch.cli.options import DEMO_CONFIG, ConfigOption, JsonOption, StateOption, control_of, show
from launch.cli.task_text import columns, moment
from launch.supervisor.control_client import Document, path_of
from launch.supervisor.tenancy.issued_keys import digest_of, new_key

DURATION = re.compile(r"^(\d+(?:\.\d+)?)\s*(s|m|h|d)?$")
HEAD = ("NAME", "STATE", "ROLE", "TENANT", "MODELS", "EXPIRES", "FROM")
BOUNDS = ("requests_per_minute", "tokens_per_minute", "max_in_flight", "tokens_per_day", "tokens_per_month")
UNIT_S = {None: 1, "s": 1, "m": 60, "h": 3600, "d": 86400}

NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="whom the key is for")]
KnownName = Annotated[
    str, typer.Argument(metavar="NAME", help="whom the key is for", autocompletion=completions.keys)
]
ExpiresOption = Annotated[str | None, typer.Option(help="30d, 12h, or a date such as 2027-01-31")]
TaskOption = Annotated[
    list[str] | None,
    typer.Option("--task", help="a model it may call, or a pattern: 'acme.*'; repeat it; default: all"),
]


RequestsOption = Annotated[int | None, typer.Option(min=1, help="requests a minute")]
TokensOption = Annotated[int | None, typer.Option(min=1, help="tokens a minute, prompts and answers")]
InFlightOption = Annotated[int | None, typer.Option(min=1, help="requests at once")]
DayOption = Annotated[int | None, typer.Option(min=1, help="tokens a day (UTC)")]
MonthOption = Annotated[int | None, typer.Option(min=1, help="tokens a month (UTC)")]
WaitOption = Annotated[bool, typer.Option("--wait", help="over a limit it waits in turn, no 429")]


def build_keys_app() -> typer.Typer:
    """`lora-gateway keys create | list | show | rotate | revoke | new | hash`."""
    app = typer.Typer(no_args_is_help=True, add_completion=False, help="Make, rotate and revoke API keys.")
    app.command("create")(create_command)
    app.command("list")(list_command)
    app.command("show")(show_command)
    app.command("limit")(limit_command)
    app.command("rotate")(rotate_command)
    app.command("revoke")(revoke_command)
    app.command("new")(new_command)
    app.command("hash")(hash_command)
    return app


def create_command(
    name: NameArgument,
    task: TaskOption = None,
    role: Annotated[
        Role, typer.Option(help="operator: its tenant's adapters at /admin; admin: all of it")
    ] = "user",
    tenant: Annotated[str | None, typer.Option(help="whom it belongs to; an operator needs one")] = None,
    expires: ExpiresOption = None,
    metrics: Annotated[bool, typer.Option("--metrics", help="it may read /metrics")] = False,
    requests_per_minute: RequestsOption = None,
    tokens_per_minute: TokensOption = None,
    max_in_flight: InFlightOption = None,
    tokens_per_day: DayOption = None,
    tokens_per_month: MonthOption = None,
    wait: WaitOption = False,
    config: ConfigOption = DEMO_CONFIG,
    state_dir: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a key in the running launch; every gateway takes it at once. It is shown this once."""
    fields: Document = {"name": checked_name("NAME", name), "role": role}
    if task:
        fields["tasks"] = task
    if metrics:
        fields["metrics"] = True
    if tenant is not None:
        fields["tenant"] = tenant
    limits = _limits(
        requests_per_minute, tokens_per_minute, max_in_flight, tokens_per_day, tokens_per_month, wait=wait
    )
    if limits:
        fields["limits"] = limits
    if expires is not None:
        fields["expires_in_s"] = seconds_until(expires, time.time())
    _print_made(control_of(config, state_dir).ask("POST", "/keys", fields), as_json)


def list_command(
    config: ConfigOption = DEMO_CONFIG, state_dir: StateOption = None, as_json: JsonOption = False
) -> None:
    """Every key, those of the configuration too, without their secrets."""
    document = control_of(config, state_dir).ask("GET", "/keys")
    show(document, as_json, lambda: _listed(document))


def show_command(
    name: KnownName,
    config: ConfigOption = DEMO_CONFIG,
    state_dir: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """One key with all that is known of it."""
    document = control_of(config, state_dir).ask("GET", path_of("keys", checked_name("NAME", name)))
    show(document, as_json, lambda: _known_of(document))


def limit_command(
    name: KnownName,
    requests_per_minute: RequestsOption = None,
    tokens_per_minute: TokensOption = None,
    max_in_flight: InFlightOption = None,
    tokens_per_day: DayOption = None,
    tokens_per_month: MonthOption = None,
    wait: WaitOption = False,
    config: ConfigOption = DEMO_CONFIG,
    state_dir: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Give a key these limits in place of those that it has; without any option it has none."""
    limits = _limits(
        requests_per_minute, tokens_per_minute, max_in_flight, tokens_per_day, tokens_per_month, wait=wait
    )
    path = path_of("keys", checked_name("NAME", name), "limits")
    document = control_of(config, state_dir).ask("PUT", path, {"limits": limits or None})
    show(document, as_json, lambda: [f"{name}: {limits_of(document)}"])


def rotate_command(
    name: KnownName,
    keep: Annotated[
        str | None, typer.Option(help="the earlier key goes on for so long, such as 24h; default: not at all")
    ] = None,
    expires: ExpiresOption = None,
    config: ConfigOption = DEMO_CONFIG,
    state_dir: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Another secret for the same key, its files and batches. It is shown this once."""
    fields: Document = {} if keep is None else {"keep_s": duration_s(keep, "--keep")}
    if expires is not None:
        fields["expires_in_s"] = seconds_until(expires, time.time())
    path = path_of("keys", checked_name("NAME", name), "rotate")
    _print_made(control_of(config, state_dir).ask("POST", path, fields), as_json)


def revoke_command(
    name: KnownName,
    config: ConfigOption = DEMO_CONFIG,
    state_dir: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Refuse a key from now on, in every gateway; what is under way ends as it would."""
    document = control_of(config, state_dir).ask("DELETE", path_of("keys", checked_name("NAME", name)))
    show(document, as_json, lambda: [f"{name} is revoked: it gets 401 from now on"])


def new_command(
    name: NameArgument,
    task: TaskOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="print JSON")] = False,
) -> None:
    """Print a new key, and the lines of the configuration that let it in; needs no launch."""
    name, key = checked_name("NAME", name), new_key()
    digest = digest_of(key)
    if as_json:
        print(json.dumps({"name": name, "key": key, "sha256": digest, "tasks": task}))
        return
    print(f"key: {key}")
    print("It is shown this once. In the configuration:")
    print(f"keys:\n  {name}:\n    sha256: {digest}")
    if task:
        print(f"    tasks: {json.dumps(task)}")


def hash_command() -> None:
    """Read a key from standard input and print its digest, so that it stands in no shell history."""
    key = typer.prompt("key", hide_input=True) if sys.stdin.isatty() else sys.stdin.readline()
    key = key.strip()
    if not key:
        raise ConfigError("standard input", "", "is empty; pipe the key into this command")
    print(digest_of(key))


def seconds_until(expires: str, now: float) -> float:
    """From a duration, a date (its beginning, UTC) or a time, counted from `now`. Raises ConfigError."""
    if DURATION.match(expires.strip()) and not expires.strip().isdecimal():  # 2027 is no half an hour
        return duration_s(expires, "--expires")
    try:
        at = datetime.fromisoformat(expires.strip())
    except ValueError as error:
        mend = "must be a time such as 30d, 12h, 2027-01-31 or 2027-01-31T12:00:00Z"
        raise ConfigError("--expires", expires, mend) from error
    left_s = (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() - now
    if left_s <= 0:
        raise ConfigError("--expires", expires, "is over already")
    return left_s


def duration_s(text: str, option: str) -> float:
    """`90s`, `15m`, `12h` or `30d` in seconds. Raises ConfigError."""
    match = DURATION.match(text.strip())
    if match is None or not float(match[1]):
        raise ConfigError(option, text, "must be a time such as 12h or 30d")
    return float(match[1]) * UNIT_S[match[2]]


def limits_of(one: Document) -> str:
    """A key's limits in words."""
    limits = dict(one.get("limits") or {})
    if not limits:
        return "no limits"
    waits = limits.pop("on_limit", "refuse") == "wait"
    limits.pop("max_wait_s", None)
    said = ", ".join(f"{name.replace('_', ' ')} {value:,}" for name, value in limits.items())
    return f"{said}; over that it waits" if waits else said


def _limits(*bounds: int | None, wait: bool) -> Document:
    """Those of `BOUNDS` that were given, by their names in the configuration."""
    named = zip(BOUNDS, bounds, strict=True)
    given: Document = {name: bound for name, bound in named if bound is not None}
    if wait and not given:
        raise ConfigError("--wait", "", "for which limit? Name one, such as --requests-per-minute 60")
    return {**given, "on_limit": "wait"} if wait else given


def _print_made(document: Document, as_json: bool) -> None:
    def lines() -> Iterator[str]:
        yield f"key: {document['key']}"
        yield f"It is shown this once. {document['name']}: {document['role']}, may call {_models(document)}"
        if document["expires_at"] is not None:
            yield f"It expires {moment(document['expires_at'])}."
        if document["previous_until"] is not None:
            yield f"The earlier key goes on until {moment(document['previous_until'])}."

    show(document, as_json, lines)


def _listed(document: Document) -> list[str]:
    rows = [_cells(one) for one in document["keys"]]
    return columns(HEAD, rows) if rows else ["there are no keys: whoever is on this machine may call"]


def _known_of(document: Document) -> Iterator[str]:
    yield from (f"{head.lower()}: {cell}" for head, cell in zip(HEAD, _cells(document), strict=True))
    yield from (f"limits: {limits_of(document)}", f"digest: {document['digest']}…")
    for field in ("created_at", "revoked_at", "previous_until"):
        if document.get(field) is not None:
            yield f"{field.replace('_', ' ')}: {moment(document[field])}"
    if document.get("created_by"):
        yield f"created by: {document['created_by']}"


def _cells(one: Document) -> tuple[str, ...]:
    expires = "never" if one["expires_at"] is None else moment(one["expires_at"])
    cells = (one["name"], one["state"], one["role"], one["tenant"] or "-", _models(one), expires)
    return (*cells, one["origin"])


def _models(one: Document) -> str:
    return "every model" if one["tasks"] is None else ", ".join(one["tasks"]) or "none"
