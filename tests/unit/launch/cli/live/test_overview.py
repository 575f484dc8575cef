"""What a state directory says of a stack."""

from __future__ import annotations

from pathlib import Path

import msgspec

from gateway.config.snapshot import (
    FILE,
    EngineStatus,
    Operation,
    Snapshot,
    TaskStatus,
    VersionStatus,
    encode_snapshot,
)
from launch.cli.live.overview import look
from launch.cli.task_text import moment
from launch.machine.gateway_address import note_url
from launch.supervisor.lock import sole_launch

TASK = TaskStatus({}, [VersionStatus("naming@1"), VersionStatus("naming@2", 0.0, "failed", "too large")])
SNAPSHOT = Snapshot(
    3,
    engines=[EngineStatus("engine-0", "http://127.0.0.1:8101", state="ready")],
    tasks={"naming": TASK},
    keys={"ci": {"sha256": "secret"}},
    operations=[Operation("naming", "/new", "loading and proving", 1.0)],
)


def test_of_a_folder_without_a_start_nothing_runs(tmp_path: Path) -> None:
    seen = look(tmp_path)
    assert (seen.state, seen.running, seen.url) == ("stopped", False, None)
    assert seen.lines()[0].startswith("stopped: never started here; of a launch in another folder")


def test_what_runs_is_told_with_its_address(tmp_path: Path) -> None:
    with sole_launch(tmp_path):
        (tmp_path / FILE).write_bytes(encode_snapshot(SNAPSHOT))
        note_url(tmp_path, "http://127.0.0.1:8080")
        seen = look(tmp_path)
    assert seen.state == "ready"
    assert seen.lines() == [
        "gateway: http://127.0.0.1:8080",
        "engine-0: ready http://127.0.0.1:8101",
        "  naming: naming@1 100 %",
        "    naming@2 failed: too large",
        "  on its way in: naming from /new: loading and proving",
    ]
    assert seen.facts()["url"] == "http://127.0.0.1:8080"
    assert "secret" not in str(seen.facts())


def test_when_an_engine_was_started_and_is_tried_again_is_told(tmp_path: Path) -> None:
    ready = EngineStatus("engine-0", "http://127.0.0.1:8101", state="ready", started_at=60.0)
    failed = EngineStatus("engine-1", state="failed", reason="it crashed", started_at=60.0, next_try_at=120.0)
    with sole_launch(tmp_path):
        (tmp_path / FILE).write_bytes(encode_snapshot(Snapshot(3, engines=[ready, failed])))
        assert look(tmp_path).lines() == [
            f"engine-0: ready http://127.0.0.1:8101 started {moment(60.0)}",
            f"engine-1: failed it crashed next try {moment(120.0)}",
        ]
    assert look(tmp_path).lines()[1] == "engine-1: failed it crashed", "nobody is there who would try"


def test_of_several_control_planes_it_is_said_which_leads(tmp_path: Path) -> None:
    led = msgspec.structs.replace(SNAPSHOT, leader="host-a (http://10.0.0.1:8080)")
    with sole_launch(tmp_path):
        (tmp_path / FILE).write_bytes(encode_snapshot(led))
        seen = look(tmp_path)
    assert "control plane: host-a (http://10.0.0.1:8080) leads" in seen.lines()
    assert seen.facts()["leader"] == led.leader


def test_what_a_killed_launch_left_is_not_taken_for_running(tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(encode_snapshot(SNAPSHOT))
    note_url(tmp_path, "http://127.0.0.1:8080")
    seen = look(tmp_path)
    assert (seen.state, seen.url) == ("stopped", None)
    assert "launch was killed" in seen.lines()[0]
