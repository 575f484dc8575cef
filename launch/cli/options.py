"""Options that several commands of `lora-gateway` share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gateway.config.document import load_config
from launch.planning.found_config import default_config, demo_config
from launch.supervisor.control_client import ControlClient

DEMO_CONFIG = Path("configs/demo/config.yaml")


def _chosen(context: typer.Context, parameter: typer.CallbackParam, value: Path) -> Path:
    return value if _given(context, parameter) else default_config()


def _chosen_demo(context: typer.Context, parameter: typer.CallbackParam, value: Path) -> Path:
    return value if _given(context, parameter) else demo_config()


def _given(context: typer.Context, parameter: typer.CallbackParam) -> bool:
    source = context.get_parameter_source(parameter.name or "")
    return source is not None and source.name != "DEFAULT"


ConfigOption = Annotated[
    Path,
    typer.Option(
        "--config",
        "-c",
        help="the configuration (YAML)",
        callback=_chosen,
        show_default="./lora-gateway.yaml",
    ),
]
DemoOption = Annotated[
    Path,
    typer.Option(
        "--config", "-c", help="the configuration (YAML)", callback=_chosen_demo, show_default="the demo's"
    ),
]
StateOption = Annotated[Path | None, typer.Option("--state-dir", help="over the configuration's own")]
JsonOption = Annotated[bool, typer.Option("--json", help="print JSON")]


def control_of(config: Path, state_dir: Path | None) -> ControlClient:
    """The control plane of a configuration. Raises ConfigError."""
    return ControlClient(state_folder(config, state_dir))


def state_folder(config: Path, state_dir: Path | None) -> Path:
    """Where a configuration's state is. Raises ConfigError.

    With a state directory the configuration is not read: it may be broken while the launch runs on.
    """
    return load_config(config).state_dir if state_dir is None else state_dir.expanduser().absolute()
