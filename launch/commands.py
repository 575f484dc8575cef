"""typer's commands: types as people write them (INTEGER, PATH), and commands that are imported when asked
for.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn, get_args, get_origin

import typer
from typer.core import TyperArgument, TyperCommand, TyperGroup, TyperOption

Command = TyperCommand | TyperGroup
Parameter = TyperArgument | TyperOption

WORDS: dict[object, str] = {int: "INTEGER", float: "NUMBER", str: "TEXT", Path: "PATH", bool: ""}


def command_of(app: typer.Typer) -> Command:
    """The whole tree of an app's commands."""
    command = typer.main.get_command(app)
    assert isinstance(command, TyperCommand | TyperGroup)
    for _, each in walk(command, ""):
        # Made when it is first asked for, and then kept: typer would show it as <bool>.
        asks_for_help = each.get_help_option(typer.Context(each))
        if asks_for_help is not None:
            asks_for_help.metavar = ""
        for parameter in parameters_of(each):
            if _kind(parameter) is Path:
                parameter.callback = _at_home(parameter.callback)
            if isinstance(parameter, TyperArgument):
                # Its name says what is written there.
                parameter.display_type_rich = lambda ctx: None  # type: ignore[method-assign]
            elif parameter.metavar is None:
                parameter.metavar = word_for(parameter)
    return command


def late_group(late: Mapping[str, Callable[[], typer.Typer]]) -> type[TyperGroup]:
    """A group in which these stand by their help alone (`add_late`); one that a line names is made then, so
    that nobody else waits for its imports.
    """

    class LateGroup(TyperGroup):
        def resolve_command(self, ctx: Any, args: list[str]) -> Any:
            name, command, rest = super().resolve_command(ctx, args)
            made = late.get(name or "")
            return name, command if made is None else command_of(made()), rest

    return LateGroup


def add_late(app: typer.Typer, name: str, text: str) -> None:
    """The help of a command that is made when it is asked for."""
    app.command(name, help=f"{text} ({name} --help lists its options).")(lambda: None)


def imported_command(name: str, module: str, function: str | None = None) -> typer.Typer:
    """An app of one command: a module's function, by default `<name>_command`."""
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command(name)(getattr(importlib.import_module(module), function or f"{name}_command"))
    return app


def run_app(app: typer.Typer, arguments: Sequence[str] | None, name: str = "lora-gateway") -> NoReturn:
    """Run the command line of `arguments`, by default the process's own; ends in SystemExit."""
    command_of(app)(arguments, prog_name=name)
    raise SystemExit(0)


def walk(command: Command, name: str) -> Iterator[tuple[str, Command]]:
    """A command and all below it, each with its words; depth first."""
    yield name, command
    if isinstance(command, TyperGroup):
        for word, each in command.commands.items():
            assert isinstance(each, TyperCommand | TyperGroup)
            yield from walk(each, f"{name} {word}".strip())


def parameters_of(command: Command) -> list[Parameter]:
    """Its options and arguments; typer knows no others."""
    return [each for each in command.params if isinstance(each, TyperArgument | TyperOption)]


def word_for(parameter: Parameter) -> str:
    """What to write for its value; empty where it takes none."""
    described = parameter.type_descriptor
    if described.is_choice:
        return "|".join(map(str, described.choices or ()))
    return WORDS.get(_kind(parameter), "TEXT")


def _kind(parameter: Parameter) -> object:
    """The type of its value, or of each where there are several."""
    kind: object = parameter.type_descriptor.annotation
    return get_args(kind)[0] if get_origin(kind) is list else kind


def _at_home(then: Callable[..., Any] | None) -> Callable[..., Any]:
    """A callback that expands `~` before, which a shell leaves in the midst of a word: `--config=~/x`."""

    def expanded(context: Any, parameter: Any, value: Any) -> Any:
        if isinstance(value, list | tuple):
            value = [Path(os.path.expanduser(one)) for one in value]
        elif value is not None:
            value = Path(os.path.expanduser(value))  # of a user that is not there it stays
        return value if then is None else then(context, parameter, value)

    return expanded
