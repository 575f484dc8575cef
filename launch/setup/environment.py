"""Build ./.venv: `python3 -m launch.setup.environment`, which every `make` target runs first; with
`clients`, the clients' own environment.

It runs on the machine's own Python before anything is installed, so it uses the standard library only. A
stamp in the environment holds a digest of all that went into it; while that stands, set-up is instantaneous
and never touches the network. The stamp is written last: whatever was interrupted is started over, and pip's
cache keeps what was downloaded.
"""

from __future__ import annotations

import contextlib
import fcntl
import importlib.util
import os
import platform
import re
import shutil
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import IO, NoReturn

from launch.machine.hardware import has_gpu
from launch.setup.commands import Commands, Ran
from launch.setup.lock_file import shares
from launch.setup.pip_errors import explain, is_unoffered
from launch.setup.steps import CLIENTS, CPU, GPU, EnvironmentPlan

SEE = "see docs/troubleshooting.md#setup_failed"
"""Behind each error, as commands have it; nothing but the standard library is there to take it from."""
OLDEST_PYTHON = (3, 11)
# Holds the CPU builds for every Python, where no source that pip is configured with has one.
TORCH_CPU_INDEX = "https://download.pytorch.org/whl/cpu"
# At once. Four keep two cores busy while some wait for their source, or have less to do than the others.
PIPS = 4
# Of every set-up, as its labels count them.
STEPS = 3
# Nothing of a package's own runs at its installation.
NPM_OPTIONS = ("--ignore-scripts", "--no-audit", "--no-fund", "--no-update-notifier")


class SetupError(Exception):
    """Set-up cannot go on; the message says what to do."""


def pinned_torch(lock: str, python: tuple[int, int], machine: str) -> tuple[str, bool]:
    """torch's requirement (`torch==2.13.0+cpu`) and whether `lock` has a digest for this Python's wheel."""
    found = re.search(r"^(torch==\S+)", lock, re.MULTILINE)
    if found is None:
        raise SetupError("requirements/torch-cpu.txt names no torch; restore it with git")
    tag = "-cp{}{}-".format(*python)
    known = any(tag in line and machine in line for line in lock.splitlines() if line.startswith("#"))
    return found.group(1), known


class Console:
    """Progress lines: one that counts seconds on a terminal, one at start and one at the end elsewhere."""

    def __init__(self, out: IO[str]) -> None:
        self._out = out
        self._live = out.isatty()

    def start(self, label: str) -> None:
        self._write(f"{label} …", end="" if self._live else "\n")

    def tick(self, label: str, elapsed_s: float) -> None:
        if self._live:
            self._write(f"\r{label} … {elapsed_s:.0f} s", end="")

    def end(self, label: str, elapsed_s: float, word: str = "done") -> None:
        self._write(f"{chr(13) if self._live else ''}{label} … {word} in {elapsed_s:.0f} s")

    def say(self, text: str) -> None:
        self._write(text)

    def _write(self, text: str, end: str = "\n") -> None:
        self._out.write(text + end)
        self._out.flush()


class Setup:
    """One build of a plan's environment under `root`."""

    def __init__(self, root: Path, plan: EnvironmentPlan, console: Console) -> None:
        self._root = root
        self._plan = plan
        self._console = console
        self._venv = root / plan.folder
        self._scratch = root / ".make"
        self._stamp = self._venv / ".lora-gateway-stamp"
        self._log = self._scratch / "setup.log"
        self._step = 0
        self._lock_fd = -1

    @property
    def _python(self) -> str:
        return str(self._venv / "bin" / "python")

    def is_current(self) -> bool:
        try:
            standing = self._stamp.read_text()
        except OSError:
            return False
        node = self._plan.node
        return (
            standing == self._plan.digest(self._root)
            and os.access(self._python, os.X_OK)
            and (node is None or (self._root / node / "node_modules").is_dir())
        )

    def run(self) -> None:
        """Build it, or return at once where it stands. Raises SetupError."""
        if self.is_current():
            return
        self._check_machine()
        self._scratch.mkdir(exist_ok=True)
        with self._locked():
            if self.is_current():
                return
            self._build()

    def _check_machine(self) -> None:
        if platform.system() != "Linux":
            raise SetupError(
                f"vLLM runs on Linux, this is {platform.system()}: use WSL 2 or a Linux container."
            )
        if self._plan.node is not None and not (shutil.which("node") and shutil.which("npm")):
            raise SetupError(
                f"{self._plan.title} need node and npm, which are not on the PATH: install Node 20 or "
                "later (`apt install nodejs npm` on Debian or Ubuntu)."
            )
        missing = [name for name in ("venv", "ensurepip") if importlib.util.find_spec(name) is None]
        if missing:
            version = "{}.{}".format(*sys.version_info[:2])
            raise SetupError(
                f"{sys.executable} has no module {missing[0]}: on Debian or Ubuntu run "
                f"`apt install python{version}-venv`, or name another Python: `make PYTHON=/path/to/python3`."
            )
        free_gib = shutil.disk_usage(self._root).free / 2**30
        needed_gib = self._plan.needed_gib
        if free_gib < needed_gib:
            raise SetupError(
                f"{free_gib:.1f} GiB free in {self._root}, about {needed_gib:.0f} GiB needed "
                "(Python environment, model, caches): free some space or clone to a larger disk."
            )

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """One build at a time in this folder. Children inherit the lock: an orphaned pip still holds it."""
        with open(self._scratch / "setup.lock", "w") as lock:
            began, label = time.monotonic(), "another set-up runs in this folder; waiting for it"
            waited = False
            while True:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if not waited:
                        self._console.start(label)
                    waited = True
                    time.sleep(0.5)
                    self._console.tick(label, time.monotonic() - began)
            if waited:
                self._console.end(label, time.monotonic() - began)
            self._lock_fd = lock.fileno()
            yield

    def _build(self) -> None:
        began = time.monotonic()
        if self._venv.exists():
            self._console.say(
                f"the environment in {self._plan.folder} is out of date or was interrupted: starting it over"
            )
            shutil.rmtree(self._venv)
        self._log.write_text("")
        self._call("creating the Python environment", [[sys.executable, "-m", "venv", str(self._venv)]])
        self._install()
        plan, last = self._plan, [[self._python, "-c", self._plan.probe]]
        if plan.editable:
            editable = ["--no-deps", "--no-build-isolation", "--no-index", "-e", str(self._root)]
            last.append(self._pip(editable))
        self._call(plan.proves, last)
        partial = self._stamp.with_suffix(".partial")
        partial.write_text(plan.digest(self._root))
        partial.replace(self._stamp)
        self._console.say(f"set up in {time.monotonic() - began:.0f} s")

    def _install(self) -> None:
        """All that is pinned, several pips (and npm) side by side: each works on one core, and waits for
        its source now and then.
        """
        plan = self._plan
        lock = (self._root / "requirements" / plan.lock).read_text()
        argvs = [self._pip(["--no-deps", "--require-hashes", "-r", file]) for file in self._shares(lock)]
        if plan.node is not None:
            folder = str(self._root / plan.node)
            argvs.append(["npm", "ci", "--prefix", folder, *NPM_OPTIONS])
        title = f"installing {plan.title}"
        if plan.torch is None:
            self._call(title, argvs)
            return
        torch = self._torch(plan.torch)
        label = self._label(title)
        first, *others = self._run(label, [self._pip(torch), *argvs], "incomplete")
        self._check(title, others)
        if first.code != 0 and is_unoffered(first.said):
            title = "installing PyTorch for CPU from pytorch.org"
            self._step -= 1  # of the STEPS it is the same
            self._call(title, [self._pip(["--index-url", TORCH_CPU_INDEX, *torch])])
        else:
            self._check("PyTorch for CPU", [first])

    def _shares(self, lock: str) -> list[str]:
        """Files that hold the lock's packages between them."""
        files = []
        for number, share in enumerate(shares(lock, PIPS)):
            file = self._scratch / f"share-{number}.txt"
            file.write_text(share)
            files.append(str(file))
        return files

    def _torch(self, lock: str) -> list[str]:
        """What pip is to be told of it."""
        path = self._root / "requirements" / lock
        torch, has_digest = pinned_torch(path.read_text(), sys.version_info[:2], platform.machine())
        if has_digest:
            return ["--no-deps", "--require-hashes", "-r", str(path)]
        version = "{}.{}".format(*sys.version_info[:2])
        self._console.say(f"      {torch} has no pinned digest for Python {version}: installing it unchecked")
        return ["--no-deps", torch]

    def _pip(self, arguments: Sequence[str]) -> list[str]:
        options = ["--no-input", "--no-compile", "--progress-bar", "off"]
        return [self._python, "-m", "pip", "install", *options, *arguments]

    def _call(self, title: str, argvs: Sequence[Sequence[str]]) -> None:
        """The next step, its commands side by side. Raises SetupError where one of them fails."""
        self._check(title, self._run(self._label(title), argvs))

    def _label(self, title: str) -> str:
        self._step += 1
        return f"[{self._step}/{STEPS}] {title}"

    def _run(self, label: str, argvs: Sequence[Sequence[str]], word_if_failed: str = "failed") -> list[Ran]:
        """Side by side, their seconds counted; what they say goes to the log."""
        began = time.monotonic()
        self._console.start(label)
        commands = Commands(self._root, self._log, self._lock_fd)
        ran = commands.run(argvs, lambda: self._console.tick(label, time.monotonic() - began))
        word = word_if_failed if any(each.code for each in ran) else "done"
        self._console.end(label, time.monotonic() - began, word)
        return ran

    def _check(self, title: str, ran: Sequence[Ran]) -> None:
        """Raises SetupError with why the first one failed: one line where it is understood, else the end of
        its output.
        """
        failed = next((each for each in ran if each.code != 0), None)
        if failed is None:
            return
        reason = explain(failed.said)
        if reason is None:
            end = "\n".join(failed.lines[-12:])
            raise SetupError(f"{title} failed; the full log is {self._log}:\n{end}")
        raise SetupError(f"{title}: {reason}")


def _interrupt(signum: int, frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


def main(arguments: Sequence[str]) -> int:
    """Set up the checkout that this file is in; returns the exit code."""
    console = Console(sys.stderr)
    if sys.version_info < OLDEST_PYTHON:
        found = platform.python_version()
        console.say(
            f"error: Python 3.11 or later is needed, {sys.executable} is {found}: make PYTHON=python3.11 …"
        )
        return 2
    signal.signal(signal.SIGTERM, _interrupt)  # as Ctrl-C: what it runs is ended, and no stamp is written
    try:
        root = Path(__file__).resolve().parents[2]
        plan = CLIENTS if "clients" in arguments else GPU if has_gpu() else CPU
        Setup(root, plan, console).run()
    except SetupError as error:
        console.say(f"error: {error} ({SEE})")
        return 2
    except OSError as error:
        console.say(f"error: set-up could not write: {error} ({SEE})")
        return 2
    except KeyboardInterrupt:
        console.say("\nset-up was interrupted; run the same command to start it over")
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
