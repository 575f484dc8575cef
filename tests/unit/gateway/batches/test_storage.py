"""One process's way to the store: opened when needed, a fault said as a 503, opened again after its end."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from gateway.batches.database import Store
from gateway.batches.records import FileRecord
from gateway.batches.storage import BatchStorage
from gateway.errors import NotFound, Unavailable
from tests.fakes.sqlite_faults import sqlite_fault
from tests.support.stack import config_of

pytestmark = pytest.mark.anyio
FILE = FileRecord("file-1", "a", "batch", "x", 1, 0, 100)


async def test_nothing_is_made_before_it_is_asked_and_it_opens_again(tmp_path: Path) -> None:
    library = BatchStorage(config_of(tmp_path), clock=lambda: 5.9)
    assert not library.folder.root.exists()
    assert library.now == 5
    await library.ask(lambda store: store.add_file(FILE, 10))
    library.close()
    assert await library.file("file-1", "a") == FILE
    library.close()


async def test_anothers_file_is_not_found_and_the_parameter_is_named(tmp_path: Path) -> None:
    library = BatchStorage(config_of(tmp_path), clock=lambda: 5)
    await library.ask(lambda store: store.add_file(FILE, 10))
    with pytest.raises(NotFound, match="There is no file 'file-1'") as missing:
        await library.file("file-1", "b", "input_file_id")
    assert missing.value.param == "input_file_id"
    library.close()


@pytest.mark.parametrize(
    ("code", "mend"),
    [
        (sqlite3.SQLITE_CONSTRAINT, ""),
        (sqlite3.SQLITE_FULL, "; make room there, or mend rights"),
        (sqlite3.SQLITE_BUSY, "; another process holds it, which may stand still: end that one, or wait"),
        (sqlite3.SQLITE_CORRUPT, "; it is damaged: put a copy back, or move it away, and it is begun anew"),
    ],
)
async def test_fault_of_the_store_is_a_503(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, code: int, mend: str
) -> None:
    library = BatchStorage(config_of(tmp_path))
    fault = sqlite_fault(code)

    def broken(store: Store) -> None:
        raise fault

    with pytest.raises(Unavailable) as unavailable:
        await library.ask(broken)
    assert (unavailable.value.code, unavailable.value.status) == ("batches_unavailable", 503)
    root = library.folder.root
    assert caplog.messages == [f"the batches' store in {root} cannot be used: {fault}{mend}"]
    library.close()


def test_a_fault_that_stays_is_logged_once_in_a_while(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0
    monkeypatch.setattr("gateway.batches.storage.time.monotonic", lambda: now)
    library = BatchStorage(config_of(tmp_path))
    for _ in range(30):
        library.complain("it is read-only")
        library.complain("it is full")
        now += 2.0
    assert [one.message for one in caplog.records] == ["it is read-only", "it is full"]
    library.complain("it is full")
    assert len(caplog.records) == 3
