"""The command `lora-gateway`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from contextlib import closing
from functools import partial
from importlib import metadata
from io import TextIOWrapper
from pathlib import Path
from typing import Annotated

import typer

from gateway.config.document import Config, load_config
from gateway.config.launch_lock import is_running
from gateway.config.process import open_streams, say
from gateway.config.snapshot import FILE, Snapshot, read_snapshot
from gateway.errors import ConfigError, LoraGatewayError
from launch.__main__ import complain, launch, with_state_dir
from launch.base.locate import fetch_demo_base
from launch.cli.audit import audit_command
from launch.cli.banner import address_lines, banner_lines, nothing_runs
from launch.cli.chat.talk import chat_command
from launch.cli.init import init_command
from launch.cli.keys import build_keys_app
from launch.cli.live.load_bar import LoadBar
from launch.cli.live.logs import logs_command
from launch.cli.live.placement import placement_command
from launch.cli.live.status import status_command
from launch.cli.live.top import top_command
from launch.cli.options import DEMO_CONFIG, ConfigOption, DemoOption, JsonOption, StateOption, served_here
from launch.cli.plan import plan_command
from launch.cli.tasks.adapters import build_adapters_app
from launch.cli.tasks.tasks import build_tasks_app, reload_command
from launch.cli.usage import usage_command
from launch.commands import add_late, imported_command, late_group, run_app
from launch.machine.gateway_address import noted_url
from launch.machine.stack import up
from launch.planning.found_config import default_config

NOT_UTF8 = (UnicodeEncodeError, UnicodeDecodeError)
EXIT_CODES = (
    "Exit codes: 0 done; 1 it failed or is not so; 2 something to mend first (a setting, an argument); "
    "130 ended by Ctrl-C."
)


def _bench() -> typer.Typer:
    from launch.bench.cli import build_bench_app

    return build_bench_app()


LATE: dict[str, tuple[Callable[[], typer.Typer], str]] = {
    "train": (
        partial(imported_command, "train", "launch.training.command"),
        "Train a LoRA adapter for one task",
    ),
    "evaluate": (
        partial(imported_command, "evaluate", "launch.training.evaluate"),
        "Measure the adapters against the base on held-out examples",
    ),
    "run": (
        partial(imported_command, "run", "launch.cli.run.command"),
        "Ask a running gateway for every line of a file",
    ),
    "bench": (_bench, "Measure the gateway beside its peers, the engine and the pipeline"),
    "simulate": (
        partial(imported_command, "simulate", "launch.simulation.command"),
        "Try many engines and adapters in simulated time",
    ),
}
"""Commands that are made when they are asked for, how, and their help until then."""


def build_app() -> typer.Typer:
    """The `lora-gateway` command with every one of its subcommands."""
    group = late_group({name: make for name, (make, _) in LATE.items()})
    app = typer.Typer(cls=group, pretty_exceptions_enable=False, epilog=EXIT_CODES)
    app.callback(invoke_without_command=True)(described)
    app.command("init")(init_command)
    app.command("up")(up_command)
    app.command("serve")(serve_command)
    app.command("demo")(demo_command)
    app.command("plan")(plan_command)
    app.command("check")(check_command)
    app.command("status")(status_command)
    app.command("top")(top_command)
    app.command("placement")(placement_command)
    app.command("logs")(logs_command)
    app.command("chat")(chat_command)
    app.command("reload")(reload_command)
    app.add_typer(build_adapters_app(), name="adapters")
    app.add_typer(build_tasks_app(), name="tasks")
    app.add_typer(build_keys_app(), name="keys")
    app.command("audit")(audit_command)
    app.command("usage")(usage_command)
    for name, (_, text) in LATE.items():
        add_late(app, name, text)
    return app


def described(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="print the version")] = False,
) -> None:
    """One OpenAI-compatible endpoint for many LoRA adapters on one base, and for pipelines made of them."""
    if version:
        print(f"lora-gateway {metadata.version('lora-gateway')}")
        raise typer.Exit()
    if context.invoked_subcommand is None:
        print("\n".join([*_what_runs(default_config()), "", "lora-gateway --help lists the commands"]))


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point; ConfigError ends with one line and exit code 2, every other of ours with 1."""
    open_streams()
    if isinstance(sys.stdout, TextIOWrapper) and sys.stdout.errors == "strict":
        sys.stdout.reconfigure(errors="backslashreplace")  # a terminal in Latin-1 has no …
    try:
        run_app(build_app(), arguments)
    except LoraGatewayError as error:
        sys.exit(complain(error))
    except NOT_UTF8 as error:
        shown = ascii(error.object[error.start : error.end])  # no more of it: it may be a key
        where = "arguments, standard input or a file"
        sys.exit(complain(ConfigError(where, shown, "is not UTF-8 text", code="argument")))


def up_command(config: ConfigOption = DEMO_CONFIG, state_dir: StateOption = None) -> None:
    """Start engine and gateway; Ctrl-C stops both."""
    loaded = with_state_dir(load_config(config), state_dir)

    def opened(url: str) -> None:
        say("\n".join(["", *_banner(loaded, url), ""]))

    fetch_demo_base(loaded)
    with closing(LoadBar(loaded.state_dir)) as bar:
        raise typer.Exit(up(config, loaded, opened, shown=bar.shows, looked=bar.look))


def serve_command(config: ConfigOption = DEMO_CONFIG, state_dir: StateOption = None) -> None:
    """Start the engine alone, as `python -m launch` does."""
    launch(config, state_dir)


def demo_command(
    config: DemoOption = DEMO_CONFIG,
    clusters: Annotated[Path | None, typer.Option(help="lines of id and terms; default: the demo's")] = None,
    stay: Annotated[bool, typer.Option("--stay", "--keep", help="go on serving until Ctrl-C")] = False,
    state_dir: StateOption = None,
    as_json: JsonOption = False,
) -> None:
    """Start everything, name the concepts of the sample clusters, stop."""
    from launch.cli.demo.command import run_demo

    loaded = with_state_dir(load_config(config), state_dir)
    samples = clusters or config.parent / "clusters.jsonl"
    raise typer.Exit(run_demo(config, loaded, samples, stay=stay, as_json=as_json))


def check_command(
    config: ConfigOption = DEMO_CONFIG, state_dir: StateOption = None, as_json: JsonOption = False
) -> None:
    """Check everything that can be known before a start; exit code 2 where something prevents it."""
    from launch.cli.check import print_check

    raise typer.Exit(print_check(config, state_dir, as_json=as_json))


def _what_runs(config: Path) -> list[str]:
    """Of this folder: where it is served, else how it could be. A broken configuration is no obstacle."""
    try:
        loaded = load_config(config)
    except LoraGatewayError as error:
        here = served_here(config)
        if here and (url := noted_url(here)):
            return address_lines(url)
        return nothing_runs(config, exists=False) if not config.exists() else [f"error: {error}"]
    url = noted_url(loaded.state_dir) if is_running(loaded.state_dir) else None
    return _banner(loaded, url) if url else nothing_runs(config, exists=True)


def _banner(config: Config, url: str) -> list[str]:
    """With what commands made, now or in an earlier life: tasks and keys."""
    seen = read_snapshot(config.state_dir / FILE) or Snapshot()
    models = [*config.models, *(name for name in seen.tasks if name not in config.models)]
    lines = banner_lines(config, url, models, keyed=bool(seen.issued_keys))
    return [f"lora-gateway {metadata.version('lora-gateway')}", *lines]


if __name__ == "__main__":
    main()
