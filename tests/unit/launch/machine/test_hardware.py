"""Which device there is."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from launch.machine.hardware import has_gpu


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
