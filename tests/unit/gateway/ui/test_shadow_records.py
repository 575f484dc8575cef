"""The last records of a shadow."""

from __future__ import annotations

from pathlib import Path

import msgspec

from gateway.relay.shadow.journal import Journal, ShadowRecord
from gateway.ui.shadow_records import MOST, READ_BYTES, last_records


def record(at: float, **fields: object) -> ShadowRecord:
    return msgspec.structs.replace(
        ShadowRecord(
            at, "naming", "naming@a", "naming@b", "different", "r-1", paths=["name"], ms=[10.0, 12.0]
        ),
        **fields,
    )


def test_the_newest_stand_first_without_texts_or_digests(tmp_path: Path) -> None:
    secret = record(2.0, texts=["said", "other"], request=msgspec.Raw(b'{"asked":1}'), digests=["d1", "d2"])
    Journal(tmp_path).write("naming", [record(1.0), secret])
    newest, oldest = last_records(tmp_path, "naming")
    assert (newest["at"], oldest["at"]) == (2.0, 1.0)
    assert newest["paths"] == ["name"]
    assert not {"texts", "request", "digests", "request_id"} & newest.keys()


def test_a_long_file_is_read_from_its_end(tmp_path: Path) -> None:
    Journal(tmp_path).write("naming", [record(float(at), reason="x" * 8000) for at in range(MOST)])
    assert (tmp_path / "shadow" / "naming.jsonl").stat().st_size > READ_BYTES
    found = last_records(tmp_path, "naming")
    assert found[0]["at"] == MOST - 1
    assert 0 < len(found) < MOST


def test_none_is_no_fault(tmp_path: Path) -> None:
    assert last_records(tmp_path, "naming") == []
