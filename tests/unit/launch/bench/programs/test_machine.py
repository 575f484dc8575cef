"""The machine that figures were measured on."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from launch.bench.programs import machine, places


def test_machine_is_described_without_a_name() -> None:
    assert machine.cpu_model("processor: 0\nmodel name\t: Some CPU @ 2 GHz\n") == "Some CPU @ 2 GHz"
    assert "node" not in machine.describe({})


def test_versions_do_not_hang_on_where_and_with_which_path_it_is_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nginx = tmp_path / "nginx"
    nginx.write_text("#!/bin/sh\necho nginx version: nginx/1.22 >&2\n")
    nginx.chmod(0o755)
    which = shutil.which
    found = {"nginx": str(nginx)}
    monkeypatch.setattr(shutil, "which", lambda name, path=None: found.get(name) if path else which(name))
    monkeypatch.chdir(places.ROOT)
    commit = machine.describe({})["commit"]
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    monkeypatch.chdir(tmp_path)
    about = machine.describe({})
    assert about["nginx"] == "nginx version: nginx/1.22"
    assert about["commit"] == commit
