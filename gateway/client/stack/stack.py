"""A stack of our own: `lora-gateway up` as a child on a configuration that is written for it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import gateway
from gateway.client.calls import Call
from gateway.client.errors import (
    AlreadyConfigured,
    ClientError,
    InvalidArgument,
    StackFailed,
    adapter_variable,
)
from gateway.client.settings import Start, check, stack_environment
from gateway.client.stack import guard
from gateway.client.stack.running import note_running, read_running
from gateway.client.transport import Link, Target
from gateway.config.launch_lock import is_running, lock_now

if TYPE_CHECKING:
    from gateway.config.snapshot import Snapshot

GRACE_S = 90.0
"""Longer than `up` takes where everything uses its own limit: 40 s for the gateway, 35 s for the engine."""
POLL_S = 0.1
LISTENING = re.compile(r"^gateway: listening on (http://\S+)", re.MULTILINE)
ERROR = re.compile(r"^error: (.+)$", re.MULTILINE)

Progress = Callable[[str], None]
"""Told in words what is going on, once for each stage and every few seconds."""
SAID_EVERY_S = 15.0


class Abandoned(Exception):
    """Whoever asked for the start no longer waits for it."""


class Stack:
    """One that runs; it ends with this object and with the process, however either ends."""

    def __init__(self, url: str, folder: Path, owned: _Owned | None = None) -> None:
        """`owned` is None where another process of the same state directory has started it."""
        self.url = url
        self._folder = folder
        self._owned = owned
        # `_Owned` knows nothing of this object, which it would keep alive for ever.
        self._end = weakref.finalize(self, owned.end) if owned is not None else None

    @property
    def ended(self) -> bool:
        if self._owned is not None:
            return self._owned.process.poll() is not None
        running = read_running(self._folder)
        return running is None or running.ends or running.url != self.url

    def stop(self) -> None:
        """End it, and return when it has ended; one that is another's goes on."""
        if self._end is not None:
            self._end()


class _Owned:
    """The child, and the way to end it."""

    def __init__(self, start: Start, log: Path) -> None:
        self.start = start
        self.process = _spawn(start, log)
        self._pid = os.getpid()

    def end(self) -> None:
        if os.getpid() != self._pid:
            return  # a forked child has copies of everything, and ends nothing
        if self.process.poll() is None:
            note_running(self.start.state_dir, self.start.document, "")
        if self.process.stdin is not None and not self.process.stdin.closed:
            self.process.stdin.close()  # the guard's word to end it
        self.process.wait()


def start_stack(start: Start, progress: Progress, abandoned: Callable[[], bool]) -> Stack:
    """Start it and wait until a completion has worked, or join the one that already runs there.

    Raises InvalidArgument, AlreadyConfigured, StackFailed, and Abandoned.
    """
    folder = start.state_dir
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise InvalidArgument("state_dir", f"{folder} cannot be made: {error.strerror}") from error
    with _starting(folder, progress, abandoned):
        url = _joined(start, progress, abandoned)
        if url:
            progress(f"uses the stack that runs on {url}")
            return Stack(url, folder)
        file, log = _files(folder)
        file.write_text(json.dumps(start.document, indent=2), encoding="utf-8")
        env = stack_environment() | {adapter_variable(name): path for name, path in start.adapters.items()}
        config = check(file, env)
        # What an earlier life published may say that its engine is ready.
        before = _published(folder, 0).version
        # Before it runs: without a note its stack would pass for one that was not started from Python.
        note_running(folder, start.document, "")
        owned = _Owned(start, log)
        try:
            url = _until_ready(owned.process, folder, before, log, progress, abandoned)
            note_running(folder, start.document, url)
        except BaseException:
            owned.end()
            raise
        progress(f"ready on {url} ({', '.join(config.models)})")
        return Stack(url, folder, owned)


def _files(folder: Path) -> tuple[Path, Path]:
    """The configuration and the log."""
    return folder / "config.json", folder / "stack.log"


def _spawn(start: Start, log: Path) -> subprocess.Popen[bytes]:
    """The code beside this package, whatever the working directory holds; that one stays, for its `.env`."""
    own = str(Path(gateway.__file__).parents[1])
    path = os.pathsep.join([own, *filter(None, [os.environ.get("PYTHONPATH")])])
    env = {**os.environ, "PYTHONPATH": path, "PYTHONSAFEPATH": "1"}
    env |= {adapter_variable(name): value for name, value in start.adapters.items()}
    file, _ = _files(start.state_dir)
    where = ["--config", str(file), "--state-dir", str(start.state_dir)]
    command = [sys.executable, "-m", "launch.cli.main", "up", *where]
    with log.open("wb") as out:
        return subprocess.Popen(
            # Isolated, without site: the guard needs the standard library alone, and starts at once.
            [sys.executable, "-I", "-S", str(guard.__file__), str(GRACE_S), *command],
            env=env,
            stdin=subprocess.PIPE,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C is for the caller's own call
        )


def _until_ready(
    process: subprocess.Popen[bytes],
    folder: Path,
    before: int,
    log: Path,
    progress: Progress,
    abandoned: Callable[[], bool],
) -> str:
    """Its address. Raises StackFailed, Abandoned."""
    began = said = time.monotonic()
    told = ""
    while True:
        if abandoned():
            raise Abandoned
        if process.poll() is not None:
            raise StackFailed(_last_words(log), log)
        snapshot = _published(folder, before)
        if snapshot.given_up:
            raise StackFailed(f"the engine cannot start: {snapshot.given_up}", log)
        engines = snapshot.engines
        if any(one.state == "ready" for one in engines):
            # It listens on any free port, which the log alone knows.
            listening = LISTENING.search(log.read_text(encoding="utf-8", errors="replace"))
            if listening is not None and _is_ready(listening[1]):
                return listening[1]
        stage = next((f"{one.state} ({one.stage or one.reason})" for one in engines), "starting")
        now = time.monotonic()
        if stage != told or now - said > SAID_EVERY_S:
            progress(f"engine {stage.removesuffix(' ()')}, {now - began:.0f} s")
            told, said = stage, now
        time.sleep(POLL_S)


def _published(folder: Path, before: int) -> Snapshot:
    """As `read_later`, which needs packages that a client alone does not."""
    from gateway.config.snapshot import FILE, read_later

    return read_later(folder / FILE, before)


def _is_ready(url: str) -> bool:
    link = Link(Target(url))
    try:
        link.ask(Call("/ready"))
    except ClientError:
        return False
    finally:
        link.close()
    return True


def _last_words(log: Path) -> str:
    text = log.read_text(encoding="utf-8", errors="replace")
    errors = dict.fromkeys(match[1] for match in ERROR.finditer(text))
    if errors:
        return "the stack did not start: " + "; ".join(errors)
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return f"the stack ended: {lines[-1] if lines else 'it said nothing'}"


@contextmanager
def _starting(folder: Path, progress: Progress, abandoned: Callable[[], bool]) -> Iterator[None]:
    """One start at a time in a state directory; whoever comes second joins what the first has started."""
    lock = os.open(folder / "start.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        _wait(lambda: lock_now(lock), f"another process starts a stack on {folder}", progress, abandoned)
        yield
    finally:
        os.close(lock)


def _joined(start: Start, progress: Progress, abandoned: Callable[[], bool]) -> str:
    """The address of the stack that runs there; empty where none does. Raises AlreadyConfigured."""
    folder = start.state_dir
    running = read_running(folder)
    if not is_running(folder):
        return ""
    if running is None:
        raise AlreadyConfigured(
            f"A stack that was not started from Python runs on {folder}: give its address as url=, or "
            "another state_dir."
        )
    if running.ends:
        _wait(lambda: not is_running(folder), f"the last stack on {folder} ends", progress, abandoned)
        return ""
    if running.settings != start.document:
        what = differences(running.settings, start.document)
        raise AlreadyConfigured(
            f"A stack with other settings ({what}) runs on {folder}, at {running.url}: attach to it with "
            f"url=, end the process that started it ({running.pid}), or give another state_dir."
        )
    return running.url


def _wait(until: Callable[[], bool], why: str, progress: Progress, abandoned: Callable[[], bool]) -> None:
    said = False
    while not until():
        if abandoned():
            raise Abandoned
        if not said:
            progress(f"waiting: {why}")
            said = True
        time.sleep(POLL_S)


def differences(old: object, new: object, key: str = "") -> str:
    """The keys that are not the same, as `key: old → new`."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        names = [name for name in dict.fromkeys([*old, *new]) if old.get(name) != new.get(name)]
        inner = (differences(old.get(n), new.get(n), f"{key}.{n}" if key else str(n)) for n in names)
        return ", ".join(inner)
    shown = [one if isinstance(one, (str, int, float, bool)) or one is None else "…" for one in (old, new)]
    return f"{key}: {shown[0]} → {shown[1]}"
