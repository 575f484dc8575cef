"""`lora-gateway status`, once and again."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.config.snapshot import FILE, EngineStatus, Snapshot, encode_snapshot
from launch.cli.live.status import show_changes
from launch.supervisor.lock import sole_launch
from tests.unit.launch.conftest import run_cli


def test_exit_code_says_whether_one_is_ready(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_cli(capsys, "status", "--state-dir", str(tmp_path)).code == 1
    ready = Snapshot(1, engines=[EngineStatus("engine-0", state="ready")])
    with sole_launch(tmp_path):
        (tmp_path / FILE).write_bytes(encode_snapshot(ready))
        said = run_cli(capsys, "status", "--state-dir", str(tmp_path), "--json")
    assert said.code == 0
    assert said.document["state"] == "ready"


def test_watching_says_each_change_once() -> None:
    coming, shown = iter(["starting", "starting", "ready"]), list[str]()

    def pause() -> None:
        if len(shown) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        show_changes(lambda: next(coming), shown.append, pause)
    assert shown == ["starting", "ready"]
