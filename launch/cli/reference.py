"""`docs/command-line.md`, written from the commands themselves by `make docs`."""

from __future__ import annotations

import inspect
import sys
from pathlib import Path

from typer.core import TyperArgument, TyperOption

from launch.cli.main import LATE, build_app
from launch.commands import Command, Parameter, command_of, parameters_of, walk

PAGE = Path(__file__).resolve().parents[2] / "docs" / "command-line.md"
HEAD = """# The command line

Written from the commands themselves by `make docs`; a test holds the two together. `lora-gateway` alone
says what is served from the folder it is called in: address, page, models, and a call to copy.

- Exit codes: 0 it is done; 1 it failed, or what was asked is not so (`status` where no engine is ready);
  2 something is to be mended first: a setting, an argument, a folder (one line on stderr says which, and
  how); 130 Ctrl-C ended it.
- `--json` prints facts for a program on stdout; all else that is said goes to stderr. What is piped has no
  colours.
- Without `--config` a command takes `./lora-gateway.yaml`, in a checkout without one the demo's.
- What takes long shows in a terminal how far it is: a bar on stderr, gone when it is over. Elsewhere lines
  say it.
- `lora-gateway --install-completion` has the shell complete commands, options, choices, and the names of
  models, tasks, versions, keys and engines.
- A key for a running gateway is taken from `LORA_GATEWAY_API_KEY`, else from `OPENAI_API_KEY`.
"""
GENERAL = {"--install-completion", "--show-completion", "--help"}


def page() -> str:
    """Every command with its options, as one Markdown page."""
    sections = [HEAD]
    for name, command in walk(command_of(build_app()), "lora-gateway"):
        late = LATE.get(name.removeprefix("lora-gateway "))
        whole = command if late is None else command_of(late[0]())
        sections += [_section(*each) for each in (walk(whole, name) if late else [(name, command)])]
    return "\n".join(sections)


def _section(name: str, command: Command) -> str:
    arguments = [each for each in parameters_of(command) if isinstance(each, TyperArgument)]
    options = [each for each in parameters_of(command) if isinstance(each, TyperOption)]
    usage = " ".join([name, *(_placed(each) for each in arguments)])
    listed: list[Parameter] = [*arguments, *options]
    rows = [_row(each) for each in listed if not GENERAL & set(each.opts)]
    table = ["| | | |", "|---|---|---|", *rows, ""] if rows else []
    level = "##" if name.count(" ") < 2 else "###"
    said = inspect.cleandoc(command.help or "")
    return "\n".join([f"{level} {name}", "", f"`{usage}`", "", said, "", *table])


def _placed(argument: TyperArgument) -> str:
    name = _name(argument)
    return name if argument.required or name.startswith("[") else f"[{name}]"


def _name(argument: TyperArgument) -> str:
    return argument.metavar or argument.name.upper()


def _row(parameter: Parameter) -> str:
    name = _name(parameter) if isinstance(parameter, TyperArgument) else ", ".join(parameter.opts)
    cells = [f"`{name}`", _value(parameter), " ".join((parameter.help or "").split())]
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _value(parameter: Parameter) -> str:
    """What is written, its bounds, and what stands for it where nothing is."""
    if isinstance(parameter, TyperArgument):
        return "" if parameter.required else "may be left out"
    parts = [f"`{parameter.metavar}`" if parameter.metavar else "", _bounds(parameter)]
    default = parameter.default
    if isinstance(parameter.show_default, str):
        parts.append(f"default `{parameter.show_default}`")
    elif parameter.required:
        parts.append("required")
    elif isinstance(default, int | float | str) and default is not False and default != "":
        parts.append(f"default `{default}`")
    return ", ".join(part for part in parts if part)


def _bounds(option: TyperOption) -> str:
    low, high = option.min, option.max
    if low is not None and high is not None:
        return f"{low} to {high}"
    if low is not None:
        return f"from {low}"
    return f"up to {high}" if high is not None else ""


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    sys.stderr.write(f"written: {PAGE.name}\n")
