"""What changes the key that an engine's repeats are remembered by, and what does not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gateway.config.secrets.engine_keys import VARIABLE as KEY_VARIABLE
from launch.machine import engine_setup as module
from launch.machine.engine_setup import engine_setup

ARGV = ("python", "-m", "server", "--host", "127.0.0.1", "--port", "8001", "--max-loras", "4")


@pytest.fixture
def setup(tmp_path: Path) -> dict[str, Any]:
    (tmp_path / "kernels.py").write_text("a = 1")
    return {"build": "base|float32", "argv": ARGV, "env": {"OMP_NUM_THREADS": "2"}, "kernels": tmp_path}


@pytest.mark.parametrize(
    "changes",
    [
        {"build": "base|bfloat16"},
        {"argv": (*ARGV, "--max-num-seqs", "8")},
        {"argv": (*ARGV[:-1], "5")},
        {"env": {"OMP_NUM_THREADS": "1"}},
        {"env": {"OMP_NUM_THREADS": "2", "VLLM_CPU_OMP_THREADS_BIND": "0"}},
        {"env": {"OMP_NUM_THREADS": "2", "LD_PRELOAD": "/x.so"}},
    ],
)
def test_what_may_move_a_sum_makes_it_another(setup: dict[str, Any], changes: dict[str, Any]) -> None:
    assert engine_setup(**setup | changes) != engine_setup(**setup)


@pytest.mark.parametrize(
    "changes",
    [
        {"argv": (*ARGV[:6], "9000", *ARGV[7:])},
        {"argv": (*ARGV[:4], "::1", *ARGV[5:])},
        {"env": {"OMP_NUM_THREADS": "2", "HOME": "/elsewhere"}},
        {"env": {"OMP_NUM_THREADS": "2", KEY_VARIABLE: "secret"}},
    ],
)
def test_where_it_listens_and_who_may_ask_change_nothing(
    setup: dict[str, Any], changes: dict[str, Any]
) -> None:
    assert engine_setup(**setup | changes) == engine_setup(**setup)


def test_other_kernels_versions_processors_and_cores_make_it_another(
    setup: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = {engine_setup(**setup)}
    (setup["kernels"] / "kernels.py").write_text("a = 2")
    found.add(engine_setup(**setup))
    (setup["kernels"] / "threads").mkdir()
    (setup["kernels"] / "threads" / "bound.py").write_text("")
    found.add(engine_setup(**setup))
    monkeypatch.setattr(module, "_processor", lambda: ["model name: another"])
    found.add(engine_setup(**setup))
    monkeypatch.setattr(module, "version_of", lambda package: "9.9")
    found.add(engine_setup(**setup))
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: {0})
    found.add(engine_setup(**setup))
    assert len(found) == 6


def test_processor_is_told_by_the_first_ones_facts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    one = "processor\t: {0}\nmodel name\t: Some\ncpu MHz\t\t: {1}\nflags\t\t: avx2 fma\n\n"
    cpuinfo.write_text(one.format(0, 2000.5) + one.format(1, 1000))
    monkeypatch.setattr(module, "CPUINFO", cpuinfo)
    assert module._processor() == ["model name\t: Some", "flags\t\t: avx2 fma"]
    monkeypatch.setattr(module, "CPUINFO", tmp_path / "none")
    assert len(module._processor()) == 2
