"""Engine and gateway together: both as children that are started again where they end unasked."""

from __future__ import annotations

import errno
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from gateway.config import process
from gateway.config.document import Config
from gateway.config.launch_lock import is_running
from gateway.config.snapshot import FILE, read_later
from gateway.errors import ConfigError
from launch.machine.child import Child, Shown, every_line
from launch.machine.gateway_address import forget_url, note_url, noted_url, url_of
from launch.machine.ports import bind_fault
from launch.machine.restarts import Restarts
from launch.machine.signals import StopSignals

POLL_S = 0.05
GATEWAY_GRACE_S = 10.0  # beyond its own limit for requests that it accepted
ENGINE_GRACE_S = 15.0  # beyond its own limit for the engine
MOST_RESTARTS = 5
BACKOFF_S = 0.2
SETTLED_S = 60.0
"""A program that ran for so long begins its count of restarts anew."""
UNUSABLE = 2
"""The exit code for what a person must mend first."""
MENDED_WITHIN_S = 5.0
"""To the next start of one that ran before: its configuration has become unusable meanwhile."""


def say(text: str) -> None:
    """A line of our own among those of the children."""
    process.say(f"up: {text}")


def ending_of(code: int) -> str:
    """An exit code in words; negative where a signal ended the process."""
    if code < 0:
        return f"was ended by {process.ended_by(code)}"
    return f"ended with exit code {code}"


class Program:
    """One of the two, whose process changes. Use it in the main thread, which the children are tied to."""

    def __init__(
        self,
        name: str,
        argv: Sequence[str],
        env: Mapping[str, str],
        restarts: Restarts | None = None,
        shown: Shown = every_line,
    ) -> None:
        """Of its lines those are passed on that `shown` says."""
        self.name = name
        self._shown = shown
        self._argv = argv
        self._env = env
        self._restarts = restarts or Restarts(MOST_RESTARTS, BACKOFF_S, settled_s=SETTLED_S)
        self._child: Child | None = None
        self._has_run = False
        self._began_s = 0.0
        self._due_s = 0.0
        self._start()

    @property
    def pid(self) -> int:
        """Of the process that runs; 0 while none does."""
        return self._child.pid if self._child is not None else 0

    def tend(self) -> int | None:
        """Start it again where it ended; None as long as that goes on, else the exit code to end with."""
        if self._child is None:
            if time.monotonic() >= self._due_s:
                self._start()
            return None
        code = self._child.exit_code()
        return None if code is None else self._ended(code)

    def signal(self, number: int) -> None:
        if self._child is not None:
            self._child.signal(number)

    def stop(self, timeout_s: float, hurry: Callable[[], bool] = lambda: False) -> None:
        """SIGTERM, then SIGKILL after `timeout_s` or once `hurry()`, which is asked again and again."""
        if self._child is not None:
            self._child.stop(timeout_s, hurry)

    def _start(self) -> None:
        self._began_s = time.monotonic()
        try:
            self._child = Child(self._argv, self._env, shown=self._shown)
        except OSError as error:  # no memory or no process left; it may come back
            say(f"{self.name} cannot be started: {error.strerror}")
            self._due_s = self._began_s + 1.0

    def _ended(self, code: int) -> int | None:
        child, self._child = self._child, None
        assert child is not None
        child.stop(0)  # what it left behind may still hold its port
        mend = f"{self.name} {ending_of(code)}: mend what it says above"
        if code == UNUSABLE and not self._has_run:
            say(f"{mend}, then start again; stopping")
            return UNUSABLE
        if code == UNUSABLE:
            self._due_s = time.monotonic() + MENDED_WITHIN_S
            say(f"{mend}; it is tried again in {MENDED_WITHIN_S:.0f} s")
            return None
        self._has_run = True
        lived_s = time.monotonic() - self._began_s
        self._restarts, delay_s = self._restarts.failed(lived_s, "crash")
        count, most = self._restarts.in_a_row, self._restarts.most
        if delay_s is None:
            say(f"{self.name} {ending_of(code)}, after {most} restarts in a row; stopping")
            return 1
        self._due_s = time.monotonic() + delay_s
        say(f"{self.name} {ending_of(code)}; it starts again in {delay_s:.1f} s (restart {count} of {most})")
        return None


class Stack:
    """Both programs, started in order, looked after, and stopped in reverse. Use in the main thread.

    Raises ConfigError where another runs on the same state.
    """

    def __init__(
        self,
        config_path: Path,
        config: Config,
        *,
        port: int,
        state_dir: Path,
        shown: Shown = every_line,
    ) -> None:
        """Of the control plane's lines those are passed on that `shown` says."""
        check_alone(state_dir)
        self._config = config
        self._state_dir = state_dir
        self._file = state_dir / FILE
        # What the file says of an earlier life is no failure.
        self._before = read_later(self._file, 0).version
        port = port or unused_port(config.gateway.host)  # the same one after each restart
        self.url = url_of(config, port)
        where = ["--config", str(config_path), "--state-dir", str(state_dir)]
        own = ["--port", str(port)]
        self.launch = Program("launch", [sys.executable, "-m", "launch", *where], os.environ, shown=shown)
        self.gateway = Program("gateway", [sys.executable, "-m", "gateway", *where, *own], os.environ)
        note_url(state_dir, self.url)

    def tend(self) -> int | None:
        """Call it often. None while the stack goes on; else the exit code to end with, and why was said."""
        for program in (self.launch, self.gateway):
            code = program.tend()
            if code is not None:
                return code
        return None

    def failure(self) -> str:
        """Why no engine will be ready, where the control plane has given up; else empty."""
        return read_later(self._file, self._before).given_up

    def stop(self, stop: StopSignals) -> None:
        """The gateway first, so that accepted requests finish while there is an engine to finish them."""
        settings = self._config
        self.gateway.stop(settings.gateway.shutdown_timeout_s + GATEWAY_GRACE_S, stop.hurried)

        def tell() -> bool:
            if stop.hurried():  # launch counts two signals as a hurry; two that come together are one
                self.launch.signal(signal.SIGTERM)
            return False  # it ends its engines itself, which a SIGKILL would leave to their watchers

        self.launch.stop(settings.engine.stop_timeout_s + ENGINE_GRACE_S, tell)
        if not is_running(self._state_dir):  # else another stack was sooner, and it is its own
            forget_url(self._state_dir)


def unused_port(host: str) -> int:
    """One that nobody listens on now."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


def check_alone(state_dir: Path) -> None:
    """Raises ConfigError where a launch runs on the folder."""
    if is_running(state_dir):
        url = noted_url(state_dir)
        where = f", on {url}" if url else ""
        mend = f"is served from already{where}: stop that first, or give another --state-dir"
        raise ConfigError("state_dir", str(state_dir), mend)


def check_gateway_port(config: Config) -> None:
    """Raises ConfigError where the gateway's port is taken, or may not be had."""
    host, port = config.gateway.host, config.gateway.port
    fault = bind_fault(host, port) if port else None
    if fault is None:
        return
    if fault.errno == errno.EADDRINUSE:
        mend = f"is taken on {host}; stop what listens there, or choose another"
        raise ConfigError("gateway.port", port, mend)
    key, value = ("gateway.port", port) if fault.errno == errno.EACCES else ("gateway.host", host)
    raise ConfigError(key, value, f"cannot be listened on ({fault.strerror}); choose another")


def up(
    config_path: Path,
    config: Config,
    opened: Callable[[str], None] = lambda url: None,
    *,
    shown: Shown = every_line,
    looked: Callable[[], None] = lambda: None,
) -> int:
    """Run the stack until a signal asks for its end (0), or until a program cannot be kept running.

    `opened` is told the gateway's address once it is known; `looked` is called again and again while the
    stack runs. Of the control plane's lines those are passed on that `shown` says.
    """
    check_alone(config.state_dir)
    check_gateway_port(config)
    stop = StopSignals()
    stop.heed_reload()
    stack = Stack(config_path, config, port=config.gateway.port, state_dir=config.state_dir, shown=shown)
    try:
        opened(stack.url)
        while not stop.asked():
            if stop.reload_asked():
                stack.launch.signal(signal.SIGHUP)
                stack.gateway.signal(signal.SIGHUP)
            code = stack.tend()
            if code is not None:
                return code
            looked()
            time.sleep(POLL_S)
        return 0
    finally:
        stack.stop(stop)
