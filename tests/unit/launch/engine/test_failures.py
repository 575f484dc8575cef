"""What ended an engine, and whether a request is to blame."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.config.snapshot import FailureKind
from launch.engine.failures import blame_of, kind_of, oom_kills


@pytest.mark.parametrize(
    ("code", "log", "kills", "was_ready", "kind"),
    [
        (1, "torch.OutOfMemoryError: CUDA out of memory.", 0, True, "out_of_memory"),
        (-9, "", 1, False, "out_of_memory"),
        (1, "EngineDeadError", 1, True, "out_of_memory"),
        (-9, "", 0, True, "crash"),
        (1, "EngineDeadError", 0, True, "crash"),
        (1, "ValueError: nonsense", 0, False, "start"),
        (1, "ValueError: Free memory on device (5.89/47.5 GiB) is less", 0, False, "configuration"),
        (2, "api_server.py: error: unrecognized arguments: --nope", 0, False, "configuration"),
    ],
)
def test_ends_are_told_apart(code: int, log: str, kills: int, was_ready: bool, kind: str) -> None:
    assert kind_of(code, log, kills, was_ready) == kind


@pytest.mark.parametrize(
    ("kind", "code", "log", "blame"),
    [
        ("crash", -11, "", "request"),
        ("crash", 1, "", "request"),
        (
            "crash",
            0,
            "EngineDeadError: EngineCore encountered an issue.",
            "request",
        ),
        ("crash", 0, "INFO: Shutting down", "nobody"),
        ("crash", -9, "", "nobody"),
        ("crash", -15, "", "nobody"),
        ("hang", None, "", "request"),
        ("out_of_memory", -9, "", "memory"),
        ("start", 1, "", "nobody"),
        ("configuration", 1, "", "nobody"),
    ],
)
def test_a_request_is_blamed_where_nothing_else_ended_it(
    kind: FailureKind, code: int | None, log: str, blame: str
) -> None:
    assert blame_of(kind, code, log) == blame


def test_kernels_kills_are_counted_where_it_says(tmp_path: Path) -> None:
    (tmp_path / "vmstat").write_text("pgfault 7\noom_kill 3\n")
    (tmp_path / "events").write_text("max 1\noom 2\noom_kill 2\n")
    assert oom_kills((tmp_path / "vmstat", tmp_path / "events", tmp_path / "none")) == 5
