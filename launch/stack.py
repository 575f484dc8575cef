"""Engine and gateway together: both as children, either one's end stops the other."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

from gateway.config import Config
from gateway.errors import ConfigError
from launch.ports import is_free
from launch.process import Child
from launch.signals import StopSignals

POLL_S = 0.1
GATEWAY_GRACE_S = 10.0  # beyond its own limit for requests that it accepted
ENGINE_GRACE_S = 15.0  # beyond its own limit for the engine


class Stack:
    """Both programs, started in order and stopped in reverse. Use in the main thread."""

    def __init__(self, config_path: Path, config: Config, *, port: int, state_dir: Path) -> None:
        self._config = config
        where = ["--config", str(config_path), "--state-dir", str(state_dir)]
        self._launch = Child([sys.executable, "-m", "launch", *where], os.environ)
        self._gateway = Child([sys.executable, "-m", "gateway", *where, "--port", str(port)], os.environ)

    def exit_code(self) -> int | None:
        """None while both run; else the code of the one that ended."""
        codes = (self._launch.exit_code(), self._gateway.exit_code())
        ended = [code for code in codes if code is not None]
        return next((code for code in ended if code), ended[0]) if ended else None

    def stop(self, stop: StopSignals) -> None:
        """The gateway first, so that accepted requests finish while there is an engine to finish them."""
        settings = self._config
        self._gateway.stop(settings.gateway.shutdown_timeout_s + GATEWAY_GRACE_S, stop.hurried)
        if stop.hurried():
            self._launch.signal(signal.SIGTERM)  # launch counts two signals as a hurry
        self._launch.stop(settings.engine.stop_timeout_s + ENGINE_GRACE_S)


def check_gateway_port(config: Config) -> None:
    """Raises ConfigError where the gateway's port is taken."""
    host, port = config.gateway.host, config.gateway.port
    if port and not is_free(host, port):
        raise ConfigError(
            "gateway.port", port, f"is taken on {host}; stop what listens there, or choose another"
        )


def up(config_path: Path, config: Config) -> int:
    """Run the stack until a signal asks for its end (0) or one program ends (its code)."""
    check_gateway_port(config)
    stop = StopSignals()
    stack = Stack(config_path, config, port=config.gateway.port, state_dir=config.state_dir)
    try:
        while not stop.asked():
            code = stack.exit_code()
            if code is not None:
                return code if code > 0 else 1
            time.sleep(POLL_S)
        return 0
    finally:
        stack.stop(stop)
