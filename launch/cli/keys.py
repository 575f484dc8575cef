"""API keys: a new one is shown once, and only its digest is ever written down."""

from __future__ import annotations

import hashlib
import json
import secrets
import sys
from typing import Annotated

import typer

from gateway.config.document import NAME
from gateway.errors import ConfigError

PREFIX = "sk-lg-"
RANDOM_BYTES = 32


def build_keys_app() -> typer.Typer:
    """`lora-gateway keys new | hash`."""
    app = typer.Typer(no_args_is_help=True, add_completion=False, help="Make API keys and their digests.")
    app.command("new")(new_command)
    app.command("hash")(hash_command)
    return app


def new_key() -> str:
    """A key of 256 random bits."""
    return PREFIX + secrets.token_urlsafe(RANDOM_BYTES)


def digest_of(key: str) -> str:
    """The SHA-256 of a key in hex, as the configuration holds it."""
    return hashlib.sha256(key.encode()).hexdigest()


def new_command(
    name: Annotated[str, typer.Argument(help="whom the key is for")],
    task: Annotated[
        list[str] | None, typer.Option("--task", help="a model it may call; repeat it; default: every one")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="print JSON")] = False,
) -> None:
    """Print a new key, and the lines of the configuration that let it in."""
    if not NAME.match(name):
        raise ConfigError("NAME", name, "must be letters, digits, '.', '_' or '-', at most 63")
    key = new_key()
    digest = digest_of(key)
    if as_json:
        print(json.dumps({"name": name, "key": key, "sha256": digest, "tasks": task}))
        return
    print(f"key: {key}")
    print("It is shown this once. In the configuration:")
    print(f"keys:\n  {name}:\n    sha256: {digest}")
    if task:
        print(f"    tasks: [{', '.join(task)}]")


def hash_command() -> None:
    """Read a key from standard input and print its digest, so that it stands in no shell history."""
    key = typer.prompt("key", hide_input=True) if sys.stdin.isatty() else sys.stdin.readline()
    key = key.strip()
    if not key:
        raise ConfigError("standard input", "", "is empty; pipe the key into this command")
    print(digest_of(key))
