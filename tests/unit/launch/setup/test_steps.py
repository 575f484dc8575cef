"""Which environment is stale, and why."""

from __future__ import annotations

import io
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from launch.setup.commands import Ran
from launch.setup.environment import TORCH_CPU_INDEX, Console, Setup, SetupError
from launch.setup.lock_file import read_lock
from launch.setup.steps import CLIENTS, CPU, GPU, EnvironmentPlan
from tests.unit.launch.setup.test_environment import NODE, ROOT


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of what set-up reads, with an environment that only looks installed."""
    shutil.copytree(ROOT / "requirements", tmp_path / "requirements")
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    (tmp_path / ".venv" / "bin" / "python").symlink_to(sys.executable)
    return tmp_path


def test_stamped_environment_is_left_alone(checkout: Path) -> None:
    (checkout / ".venv" / ".lora-gateway-stamp").write_text(CPU.digest(checkout))
    out = io.StringIO()
    Setup(checkout, CPU, Console(out)).run()
    assert out.getvalue() == ""
    assert not (checkout / ".make").exists()


@pytest.mark.parametrize("changed", ["cpu.txt", "torch-cpu.txt"])
def test_changed_lock_makes_the_stamp_stale(checkout: Path, changed: str) -> None:
    (checkout / ".venv" / ".lora-gateway-stamp").write_text(CPU.digest(checkout))
    with open(checkout / "requirements" / changed, "a") as file:
        file.write("# changed\n")
    assert not Setup(checkout, CPU, Console(io.StringIO())).is_current()


@pytest.mark.parametrize(
    ("old", "new", "current"), [("line-length = 110", "line-length = 99", True), ("typer>=", "typer>", False)]
)
def test_pyproject_counts_in_so_far_as_it_is_installed(
    checkout: Path, old: str, new: str, current: bool
) -> None:
    (checkout / ".venv" / ".lora-gateway-stamp").write_text(CPU.digest(checkout))
    pyproject = checkout / "pyproject.toml"
    assert old in pyproject.read_text()
    pyproject.write_text(pyproject.read_text().replace(old, new))
    assert Setup(checkout, CPU, Console(io.StringIO())).is_current() is current


def test_environment_for_the_cpu_is_stale_where_a_card_appeared(checkout: Path) -> None:
    (checkout / ".venv" / ".lora-gateway-stamp").write_text(CPU.digest(checkout))
    assert not Setup(checkout, GPU, Console(io.StringIO())).is_current()


def test_moved_checkout_is_stale(checkout: Path) -> None:
    assert CPU.digest(checkout) != GPU.digest(checkout / ".")
    stamp = CPU.digest(checkout)
    moved = checkout.rename(checkout.with_name("moved"))
    assert CPU.digest(moved) != stamp


def test_short_disk_is_named_before_anything_is_written(checkout: Path) -> None:
    with pytest.raises(SetupError, match=r"GiB free in .* needed"):
        Setup(checkout, replace(CPU, needed_gib=1e9), Console(io.StringIO())).run()
    assert not (checkout / ".make").exists()


@pytest.fixture
def clients(checkout: Path) -> Path:
    """A checkout whose clients only look installed."""
    node = checkout / NODE
    shutil.copytree(ROOT / NODE, node, ignore=shutil.ignore_patterns("node_modules"))
    (node / "node_modules").mkdir()
    (checkout / ".venv-clients" / "bin").mkdir(parents=True)
    (checkout / ".venv-clients" / "bin" / "python").symlink_to(sys.executable)
    (checkout / ".venv-clients" / ".lora-gateway-stamp").write_text(CLIENTS.digest(checkout))
    return checkout


def test_stamped_clients_are_left_alone_whatever_the_project_itself_installs(clients: Path) -> None:
    with open(clients / "requirements" / "cpu.txt", "a") as file:
        file.write("# changed\n")
    out = io.StringIO()
    Setup(clients, CLIENTS, Console(out)).run()
    assert out.getvalue() == ""


@pytest.mark.parametrize("changed", ["requirements/clients.txt", f"{NODE}/package-lock.json"])
def test_changed_lock_makes_the_clients_stale(clients: Path, changed: str) -> None:
    with open(clients / changed, "a") as file:
        file.write("\n")
    assert not Setup(clients, CLIENTS, Console(io.StringIO())).is_current()


def test_clients_without_their_node_modules_are_stale(clients: Path) -> None:
    (clients / NODE / "node_modules").rmdir()
    assert not Setup(clients, CLIENTS, Console(io.StringIO())).is_current()


def test_missing_node_is_named_with_the_mend(clients: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (clients / ".venv-clients" / ".lora-gateway-stamp").unlink()
    monkeypatch.setenv("PATH", str(clients))
    with pytest.raises(SetupError, match=r"node and npm, .* install Node 20"):
        Setup(clients, CLIENTS, Console(io.StringIO())).run()


class Recorder:
    """In place of the commands: what they would have been. Those with `failing` in them fail, with `said`."""

    def __init__(self, failing: str = "", said: str = "") -> None:
        self.rounds: list[list[str]] = []
        self._failing, self._said = failing, said

    def __call__(self, root: Path, log: Path, keeps_fd: int) -> Recorder:
        return self

    def run(self, argvs: Sequence[Sequence[str]], tick: Callable[[], None]) -> list[Ran]:
        lines = [" ".join(argv) for argv in argvs]
        if " -m venv " in lines[0]:
            Path(argvs[0][-1]).mkdir()
        self.rounds.append(lines)
        return [Ran(*self._end(line)) for line in lines]

    def _end(self, line: str) -> tuple[int, list[str]]:
        failing = bool(self._failing) and self._failing in line
        return int(failing), [self._said] if failing else []


@pytest.fixture
def bare(checkout: Path) -> Path:
    shutil.rmtree(checkout / ".venv")
    return checkout


def built(checkout: Path, plan: EnvironmentPlan, recorder: Recorder, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr("launch.setup.environment.Commands", recorder)
    out = io.StringIO()
    Setup(checkout, replace(plan, needed_gib=0.0), Console(out)).run()
    return out.getvalue()


def test_all_that_is_pinned_is_installed_side_by_side(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recorder = Recorder()
    said = built(bare, CPU, recorder, monkeypatch)
    _, installing, last = recorder.rounds
    files = [line.rpartition(" ")[2] for line in installing]
    assert all("--no-deps --require-hashes -r" in line for line in installing)
    assert files[0].endswith("/requirements/torch-cpu.txt")
    packages = [one.name for file in files[1:] for one in read_lock(Path(file))]
    assert sorted(packages) == sorted(one.name for one in read_lock(bare / "requirements" / "cpu.txt"))
    assert [" -c " in line for line in last] == [True, False]
    assert last[1].endswith(f" -e {bare}")
    assert [line[:5] for line in said.splitlines()[::2]] == ["[1/3]", "[2/3]", "[3/3]", "set u"]
    assert Setup(bare, CPU, Console(io.StringIO()))._stamp.read_text() == CPU.digest(bare)


def test_torch_that_no_source_has_is_asked_for_from_its_makers(
    bare: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unoffered = "ERROR: No matching distribution found for torch==2.13.0+cpu"
    recorder = Recorder(f"off --no-deps --require-hashes -r {bare}/requirements/torch-cpu.txt", unoffered)
    said = built(bare, CPU, recorder, monkeypatch)
    _, installing, again, _ = recorder.rounds
    assert len(installing) > 2
    assert [TORCH_CPU_INDEX in line for line in again] == [True]
    assert "failed" not in said


def test_a_failure_beside_others_is_told_as_its_own(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recorder = Recorder("share-1.txt", "ERROR: Could not install: [Errno 28] No space left on device")
    with pytest.raises(SetupError, match=r"installing vLLM for CPU: the disk is full"):
        built(bare, CPU, recorder, monkeypatch)
    assert not Setup(bare, CPU, Console(io.StringIO())).is_current()
    with pytest.raises(SetupError, match=r"(?s)failed; the full log is .*:\nsomething new"):
        built(bare, CPU, Recorder("share-1.txt", "something new"), monkeypatch)
