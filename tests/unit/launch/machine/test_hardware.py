"""Which device there is."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from launch.machine.hardware import cards, cores, has_gpu


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


def test_cards_are_those_that_are_allowed_or_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\necho 'GPU 0: A'; echo '  MIG 1g'; echo 'GPU 1: B'\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}/usr/bin{os.pathsep}/bin")
    assert cards({}) == ["0", "1"]
    assert cards({"CUDA_VISIBLE_DEVICES": "3, GPU-7"}) == ["3", "GPU-7"]
    assert cards({"CUDA_VISIBLE_DEVICES": ""}) == []


def test_cores_are_those_that_it_may_run_on() -> None:
    assert len(cores()) == len(os.sched_getaffinity(0))
