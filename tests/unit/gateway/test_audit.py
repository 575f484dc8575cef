"""The audit log: whole lines from many writers, put aside when large, never in the way."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest

from gateway import audit
from gateway.audit import FILE, AuditLog


def test_entries_come_back_in_order_and_from_a_time_on(tmp_path: Path) -> None:
    clock = iter([10.0, 20.0, 30.0])
    log = AuditLog(tmp_path, lambda: next(clock))
    for name in ("a", "b", "c"):
        log.write("POST /keys", "root", 200, name=name, tenant=None)
    assert list(log.entries(20)) == [
        {"at": 20.0, "who": "root", "action": "POST /keys", "status": 200, "name": "b"},
        {"at": 30.0, "who": "root", "action": "POST /keys", "status": 200, "name": "c"},
    ]
    assert (tmp_path / FILE).stat().st_mode & 0o777 == 0o600


def test_many_writers_lose_nothing_while_files_are_put_aside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit, "MOST_BYTES", 4000)
    monkeypatch.setattr(os, "fsync", lambda _: None)
    pids = []
    for writer in range(3):
        pid = os.fork()
        if not pid:
            log = AuditLog(tmp_path)
            for number in range(60):
                log.write("x", f"writer {writer}", 200, number=number)
            os._exit(0)
        pids.append(pid)
    for pid in pids:
        os.waitpid(pid, 0)
    found = [(one["who"], one["number"]) for one in AuditLog(tmp_path).entries()]
    assert sorted(found) == [(f"writer {w}", n) for w in range(3) for n in range(60)]
    assert (tmp_path / f"{FILE}.1").is_file()
    assert all(file.stat().st_size <= 4000 for file in tmp_path.iterdir())


def test_the_oldest_file_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit, "MOST_BYTES", 100)
    monkeypatch.setattr(audit, "KEPT_FILES", 2)
    log = AuditLog(tmp_path)
    for number in range(10):
        log.write("x", "root", 200, number=number)
    assert len(list(tmp_path.iterdir())) == 3
    assert [one["number"] for one in log.entries()][-1] == 9


@pytest.mark.parametrize("line", [b'{"at": 1, "wh', b"[]", b'{"who": "a"}', b'{"at": [1]}', b'{"at": null}'])
def test_a_line_that_is_no_entry_is_left_out(tmp_path: Path, line: bytes) -> None:
    log = AuditLog(tmp_path)
    log.write("x", "root", 200)
    with (tmp_path / FILE).open("ab") as file:
        file.write(line + b"\n")
    assert [one["who"] for one in log.entries()] == ["root"]


def test_what_cannot_be_written_is_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    AuditLog(tmp_path / "missing").write("DELETE /keys/ci", "root", 200)
    assert "misses DELETE /keys/ci by root" in caplog.text
    assert caplog.records[0].levelno == logging.ERROR


def test_no_client_makes_a_line_long(tmp_path: Path) -> None:
    """Else a few thousand refused requests would push out all that is kept."""
    log = AuditLog(tmp_path)
    facts = {"source": "y" * 10_000, "canary": 10**5000, "task": [["z"] * 10_000], "count": 3}
    log.write("DELETE /admin/keys/" + "x" * 60_000, "team", 403, **facts)
    assert (tmp_path / FILE).stat().st_size < 2000
    (entry,) = log.entries()
    assert str(entry["action"]).startswith("DELETE /admin/keys/xxx")
    assert (entry["canary"], entry["task"], entry["count"]) == ("…", "…", 3)
