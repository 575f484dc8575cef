"""What is noted of a stack that runs, and when it no longer counts."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from gateway.client.stack.running import FILE, Running, note_running, read_running


def test_note_is_read_again_and_is_its_owners_alone(tmp_path: Path) -> None:
    note_running(tmp_path, {"base.model": "m"}, "http://x")
    found = read_running(tmp_path)
    assert found is not None
    assert (found.pid, found.url, found.settings) == (os.getpid(), "http://x", {"base.model": "m"})
    assert not found.ends
    assert (tmp_path / FILE).stat().st_mode & 0o777 == 0o600


def test_who_reads_while_it_is_written_anew_finds_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a stack that another process just notes would count as gone."""
    note_running(tmp_path, {}, "http://x")
    found: list[Running | None] = []

    def written(document: object, *_: object) -> str:
        found.append(read_running(tmp_path))
        return "{}"

    monkeypatch.setattr(json, "dumps", written)
    monkeypatch.setattr(json, "dump", written)
    note_running(tmp_path, {}, "")
    assert [one and one.url for one in found] == ["http://x"]


def test_it_is_on_its_way_out_without_an_address_or_its_owner(tmp_path: Path) -> None:
    note_running(tmp_path, {}, "http://x")
    found = read_running(tmp_path)
    assert found is not None
    assert replace(found, url="").ends
    assert replace(found, ticks=(found.ticks or 0) + 1).ends  # another process that was given its number
    assert replace(found, pid=2**22 + 1).ends


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"pid": "x", "ticks": 1, "settings": {}, "url": ""}'])
def test_note_that_cannot_be_read_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / FILE).write_text(text)
    assert read_running(tmp_path) is None
    assert read_running(tmp_path / "nowhere") is None
