"""The command `lora-gateway`."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from gateway.config.document import load_config
from gateway.config.launch_lock import is_running
from gateway.config.snapshot import FILE, EngineStateName, EngineStatus, Snapshot, read_snapshot
from gateway.errors import LoraGatewayError
from launch.__main__ import complain, launch, with_state_dir
from launch.cli.adapters import build_adapters_app
from launch.cli.audit import audit_command
from launch.cli.init import init_command
from launch.cli.keys import build_keys_app
from launch.cli.options import DEMO_CONFIG, ConfigOption, DemoOption, JsonOption, StateOption, state_folder
from launch.cli.plan import plan_command
from launch.cli.task_text import shares
from launch.cli.tasks import build_tasks_app, reload_command
from launch.machine.stack import up

BEST_FIRST: tuple[EngineStateName, ...] = (
    "ready",
    "sleeping",
    "starting",
    "draining",
    "stopped",
    "failed",
)
"""Of several engines, the state that says most of what a request may hope for."""


def build_app() -> typer.Typer:
    """The `lora-gateway` command with every one of its subcommands."""
    app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
    app.callback()(described)
    app.command("init")(init_command)
    app.command("up")(up_command)
    app.command("serve")(serve_command)
    app.command("demo")(demo_command)
    app.command("plan")(plan_command)
    app.command("check")(check_command)
    app.command("status")(status_command)
    app.command("reload")(reload_command)
    app.add_typer(build_adapters_app(), name="adapters")
    app.add_typer(build_tasks_app(), name="tasks")
    app.add_typer(build_keys_app(), name="keys")
    app.command("audit")(audit_command)
    # These read their own options, so that nothing of theirs is imported before they are asked for.
    passed_on = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}
    app.command("train", context_settings=passed_on)(train_proxy)
    app.command("evaluate", context_settings=passed_on)(evaluate_proxy)
    app.command("run", context_settings=passed_on)(run_proxy)
    app.command("bench", context_settings=passed_on)(bench_proxy)
    return app


def described() -> None:
    """One OpenAI-compatible endpoint for many LoRA adapters on one base, and for pipelines made of them."""


def train_proxy(context: typer.Context) -> None:
    """Train a LoRA adapter for one task (train --help lists its options)."""
    from launch.training.command import train_command

    _hand_over("train", train_command, context.args)


def evaluate_proxy(context: typer.Context) -> None:
    """Measure the adapters against the base on held-out examples (evaluate --help lists its options)."""
    from launch.training.evaluate import evaluate_command

    _hand_over("evaluate", evaluate_command, context.args)


def run_proxy(context: typer.Context) -> None:
    """Ask a running gateway for every line of a file (run --help lists its options)."""
    from launch.cli.run.command import run_command

    _hand_over("run", run_command, context.args)


def bench_proxy(context: typer.Context) -> None:
    """Measure the gateway beside its peers, the engine and the pipeline (bench --help lists them)."""
    from launch.bench.cli import build_bench_app

    build_bench_app()(context.args, prog_name="lora-gateway bench")


def _hand_over(name: str, command: Callable[..., None], arguments: list[str]) -> None:
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command(name)(command)
    app(arguments, prog_name=f"lora-gateway {name}")


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point; ConfigError ends with one line and exit code 2, every other of ours with 1."""
    try:
        build_app()(arguments)
    except LoraGatewayError as error:
        sys.exit(complain(error))


def up_command(config: ConfigOption = DEMO_CONFIG, state_dir: StateOption = None) -> None:
    """Start engine and gateway; Ctrl-C stops both."""
    raise typer.Exit(up(config, with_state_dir(load_config(config), state_dir)))


def serve_command(config: ConfigOption = DEMO_CONFIG, state_dir: StateOption = None) -> None:
    """Start the engine alone, as `python -m launch` does."""
    launch(config, state_dir)


def demo_command(
    config: DemoOption = DEMO_CONFIG,
    clusters: Annotated[Path | None, typer.Option(help="lines of id and terms; default: the demo's")] = None,
    keep: Annotated[bool, typer.Option("--keep", help="go on serving until Ctrl-C")] = False,
    state_dir: StateOption = None,
) -> None:
    """Start everything, name the concepts of the sample clusters, stop."""
    from launch.cli.demo.command import run_demo

    loaded = with_state_dir(load_config(config), state_dir)
    samples = clusters or config.parent / "clusters.jsonl"
    raise typer.Exit(run_demo(config, loaded, samples, keep=keep))


def check_command(
    config: ConfigOption = DEMO_CONFIG, state_dir: StateOption = None, as_json: JsonOption = False
) -> None:
    """Check everything that can be known before a start; exit code 2 where something prevents it."""
    from launch.cli.check import print_check

    raise typer.Exit(print_check(config, state_dir, as_json=as_json))


def status_command(
    config: ConfigOption = DEMO_CONFIG, state_dir: StateOption = None, as_json: JsonOption = False
) -> None:
    """Say what the engines are doing; exit code 0 where one is ready, else 1."""
    folder = state_folder(config, state_dir)
    running = is_running(folder)
    snapshot = read_snapshot(folder / FILE) or Snapshot()
    engines = [engine if running else _orphaned(engine) for engine in snapshot.engines]
    state = min((engine.state for engine in engines), key=BEST_FIRST.index, default="stopped")
    if as_json:
        shown = msgspec.structs.replace(snapshot, engines=engines, keys={}, issued_keys={})
        print(json.dumps({"state": state, "running": running, **msgspec.to_builtins(shown)}, indent=2))
    else:
        if not engines:
            print("stopped: never started here")
        for engine in engines:
            details = [text for text in (engine.stage, engine.reason, engine.url) if text]
            print(" ".join([f"{engine.name}: {engine.state}", *details]))
        for name, task in snapshot.tasks.items():
            print(f"  {name}: {shares(task)}")
            for version in task.versions:
                if version.reason:
                    print(f"    {version.id} failed: {version.reason}")
        for one in snapshot.operations if running else ():
            print(f"  on its way in: {one.task} from {one.source}: {one.stage}")
    raise typer.Exit(0 if state == "ready" else 1)


def _orphaned(engine: EngineStatus) -> EngineStatus:
    """An engine of ours ends with its launch, whatever the file still says."""
    if not engine.managed or engine.state in ("failed", "stopped"):
        return engine
    return msgspec.structs.replace(engine, state="stopped", stage="", reason="launch was killed")


if __name__ == "__main__":
    main()
