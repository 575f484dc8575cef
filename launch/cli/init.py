"""`lora-gateway init`: a configuration from the headers of the adapters that are at hand."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from gateway.config.document import DEMO_BASE, NAME, VARIABLE, load_config
from gateway.errors import ConfigError
from gateway.whole_files import write_whole
from launch.adapters.check import Adapter, check_adapter, engine_rank
from launch.base.lookup import DEMO_NAME, find_base
from launch.base.lora_shapes import Base, describe_base
from launch.base.names import cached_name, same_model
from launch.cli.options import JsonOption
from launch.machine.files import CONFIG, open_regular, read_json
from launch.planning.found_config import OWN
from launch.planning.new_config import NewBase, NewTask, text_of

BaseOption = Annotated[
    str | None,
    typer.Option("--base", help="the base: a folder or a hub id; default: what the adapters were trained on"),
]
AdaptersOption = Annotated[
    list[str] | None,
    typer.Option("--adapter", help="NAME=FOLDER, a task and its peft adapter; may be given several times"),
]
OutOption = Annotated[Path, typer.Option("--out", help="the file to write")]
ForceOption = Annotated[bool, typer.Option("--force", help="overwrite the file where it is there")]


def init_command(
    base: BaseOption = None,
    adapter: AdaptersOption = None,
    out: OutOption = OWN,
    force: ForceOption = False,
    as_json: JsonOption = False,
) -> None:
    """Write a configuration for a base and adapters that are at hand."""
    write_config(base, adapter or [], out, force=force)
    if as_json:
        print(json.dumps({"written": str(out)}))
        return
    again = "" if out == OWN else f" --config {out}"
    print(f"{out} is written; look at it, then:")
    print(f"  lora-gateway check{again}")
    print(f"  lora-gateway up{again}")


def write_config(base: str | None, adapters: Sequence[str], out: Path, *, force: bool = False) -> None:
    """Raises ConfigError where an adapter will not do, no base is known, or the file is there already."""
    if out.exists() and not force:
        raise ConfigError("--out", str(out), "is there already; --force overwrites it, --out names another")
    if base is None and not adapters:
        raise ConfigError("init", "", "name a base (--base org/name) or adapters (--adapter naming=./folder)")
    folders = dict(_named(text) for text in adapters)
    if len(folders) < len(adapters):
        raise ConfigError("--adapter", "", "a name is given twice; each task has one adapter to begin with")
    model, known_from = (_given(base), "as --base says") if base else _trained_on(folders)
    described, context = _describe(model)
    checked = [
        check_adapter(name, path, described, key=f"--adapter {name}") for name, path in folders.items()
    ]
    ranks = [one.rank for one in checked]
    new = NewBase(model, known_from, engine_rank(ranks) if ranks else None, context)
    # A link stays, and what it leads to is written.
    place = Path(os.path.realpath(out)) if out.is_symlink() else out
    _write(place, text_of(new, [_task(one) for one in checked], place))
    load_config(out, {})  # what was written can be read; check says the rest


def _named(text: str) -> tuple[str, Path]:
    name, separator, place = text.partition("=")
    if not separator or not place or not NAME.match(name):
        raise ConfigError("--adapter", text, "write NAME=FOLDER, such as naming=./my-adapter")
    if "://" in place:
        later = f"lora-gateway adapters add {name} {place}"
        raise ConfigError("--adapter", text, f"is no folder; leave it out and add it once all runs: {later}")
    if VARIABLE.search(place):
        raise ConfigError(
            "--adapter", text, "has ${…} in its path, which a configuration takes for a variable"
        )
    return name, Path(os.path.expanduser(place)).absolute()


def _trained_on(folders: dict[str, Path]) -> tuple[str, str]:
    """The one base that the adapters name, and who says so. Raises ConfigError."""
    names: dict[str, str] = {}
    for task, folder in folders.items():
        name = _base_named_in(folder)
        if name:
            names[task] = name
    if not names:
        for task, folder in folders.items():  # what is no adapter at all is said as that
            check_adapter(task, folder, Base("", "", None, {}), key=f"--adapter {task}")
        raise ConfigError("--base", "", "is needed: no adapter says what it was trained on")
    (first, name), *others = names.items()
    for task, other in others:
        if not same_model(name, other):
            raise ConfigError(
                "--adapter",
                f"{task}={folders[task]}",
                f"was trained on {other}, {first} on {name}; one configuration has one base",
            )
    return _found(name), f"as the adapter of {first} says"


def _base_named_in(folder: Path) -> str:
    """Empty where the file does not say; what is wrong with the adapter is said by its check."""
    try:
        with open_regular(folder / CONFIG) as file:
            document, _ = read_json(file)
    except (OSError, ValueError):
        return ""
    name = document.get("base_model_name_or_path") if isinstance(document, dict) else None
    return name if isinstance(name, str) else ""


def _given(base: str) -> str:
    """As the shell means it: a path begins here, not at the configuration's folder. Raises ConfigError."""
    path = Path(os.path.expanduser(base))
    if base.startswith("demo:") and base != DEMO_BASE:
        raise ConfigError("--base", base, f"the only demo base is {DEMO_BASE}")
    if base.startswith((".", "/", "~")) and not path.is_dir():
        raise ConfigError("--base", base, "no such folder; name a model's folder or a hub id")
    return str(path.absolute()) if path.is_dir() else base


def _found(name: str) -> str:
    """A folder that is here, the demo's base, else a hub id. Raises ConfigError."""
    if Path(name).is_dir():
        return str(Path(name).absolute())
    if same_model(name, DEMO_NAME):
        return DEMO_BASE
    hub = cached_name(name) or name
    if hub.count("/") != 1 or hub.startswith((".", "/", "~")) or "\\" in hub:
        raise ConfigError(
            "--base", name, "is what the adapter was trained on, and is not here; name it: --base …"
        )
    return hub


def _describe(model: str) -> tuple[Base, int | None]:
    """The base as far as files at hand tell, and its context; an adapter is held against that."""
    try:
        source = find_base(model)
    except ConfigError:  # not here and not within reach: check says so where it matters
        return Base(model, model, None, {}), None
    return describe_base(model, source.name, source.config), source.shape.max_positions


def _task(adapter: Adapter) -> NewTask:
    return NewTask(adapter.task, adapter.path, adapter.rank, adapter.size_bytes)


def _write(out: Path, text: str) -> None:
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        write_whole(out, text.encode(), mode=0o666)
    except OSError as error:
        raise ConfigError("--out", str(out), f"cannot be written: {error.strerror}; name another") from error
