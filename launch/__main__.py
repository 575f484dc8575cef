"""`python -m launch --config C`: run the engines until told to stop."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from gateway.config.document import Config, load_config
from gateway.config.process import open_streams, say
from gateway.errors import ConfigError, LoraGatewayError, told
from launch.machine.signals import StopSignals


def main(argv: Sequence[str] | None = None) -> int:
    """Exit codes: 0 stopped on request, 2 something to mend; an engine that fails ends nothing."""
    open_streams()
    parser = argparse.ArgumentParser(
        prog="python -m launch", description="Run the engine of a configuration."
    )
    parser.add_argument("--config", type=Path, required=True, help="the configuration (YAML)")
    parser.add_argument(
        "--state-dir", type=Path, help="where engine.json is written, over the configuration's own"
    )
    options = parser.parse_args(argv)
    try:
        launch(options.config, options.state_dir)
    except LoraGatewayError as error:
        return complain(error)
    return 0


def launch(path: Path, state_dir: Path | None) -> None:
    """Run the control plane of a configuration until it is told to stop. Raises ConfigError."""
    from launch.supervisor.prepare import run_engine  # commands that only ask do without its imports

    stop = StopSignals()
    stop.heed_reload()

    def read() -> Config:
        return with_state_dir(load_config(path), state_dir)

    run_engine(read(), stop, read, [path, Path(".env")])


def with_state_dir(config: Config, state_dir: Path | None) -> Config:
    """The configuration with another state directory, where one is given."""
    if state_dir is None:
        return config
    return config.model_copy(update={"state_dir": Path(os.path.expanduser(state_dir)).absolute()})


def complain(error: LoraGatewayError) -> int:
    """Says it on stderr, and where to read on; returns the exit code that goes with the error."""
    say(told(error))
    return 2 if isinstance(error, ConfigError) else 1


if __name__ == "__main__":
    sys.exit(main())
