"""Which device there is."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from launch.machine.hardware import cards, cores, cpu_quota, has_gpu, thread_count


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


def written(folder: Path, **files: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text)


def test_cores_are_those_that_it_may_run_on(tmp_path: Path) -> None:
    assert cores(tmp_path) == sorted(os.sched_getaffinity(0))


def test_a_core_with_two_threads_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2, 3, 4, 5})
    for number, siblings in enumerate(["0,4", "1,5", "2", "3", "0,4", "1,5"]):
        written(tmp_path / f"cpu{number}/topology", thread_siblings_list=siblings + "\n")
    assert cores(tmp_path) == [2, 3, 4, 5]


def test_quota_is_the_least_of_a_group_and_those_above_it(tmp_path: Path) -> None:
    written(tmp_path, cgroup__procs="1\n")
    written(tmp_path / "app.slice", cpu__max="300000 100000\n")
    written(tmp_path / "app.slice/gateway.service", cpu__max="max 100000\n")
    assert cpu_quota("0::/app.slice/gateway.service\n", tmp_path) == 3.0
    written(tmp_path / "app.slice/gateway.service", cpu__max="150000 100000\n")
    assert cpu_quota("0::/app.slice/gateway.service\n", tmp_path) == 1.5
    assert cpu_quota("0::/other\n", tmp_path) is None


def test_quota_of_a_container_that_is_told_its_hosts_path_is_at_the_root(tmp_path: Path) -> None:
    written(tmp_path, cpu__max="200000 100000\n")
    assert cpu_quota("0::/system.slice/docker-1.scope\n", tmp_path) == 2.0
    assert cpu_quota("0::/../../docker-1.scope\n", tmp_path) == 2.0


@pytest.mark.parametrize("folder", ["cpu,cpuacct", "cpu"])
def test_quota_of_the_first_version(tmp_path: Path, folder: str) -> None:
    groups = "4:memory:/\n3:cpu,cpuacct:/docker/1\n2:cpuset:/\n1:name=systemd:/\n0::/\n"
    assert cpu_quota(groups, tmp_path) is None
    written(tmp_path / folder, cpu__cfs_quota_us="-1\n", cpu__cfs_period_us="100000\n")
    assert cpu_quota(groups, tmp_path) is None
    written(tmp_path / folder / "docker/1", cpu__cfs_quota_us="250000\n", cpu__cfs_period_us="100000\n")
    assert cpu_quota(groups, tmp_path) == 2.5


@pytest.mark.parametrize(("quota", "count"), [(None, 4), (2.9, 2), (0.5, 1), (64.0, 4)])
def test_threads_are_no_more_than_cores_and_their_time(
    monkeypatch: pytest.MonkeyPatch, quota: float | None, count: int
) -> None:
    monkeypatch.setattr("launch.machine.hardware.cores", lambda: [0, 1, 2, 3])
    monkeypatch.setattr("launch.machine.hardware.cpu_quota", lambda: quota)
    assert thread_count() == count
