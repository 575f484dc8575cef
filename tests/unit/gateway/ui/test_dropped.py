"""Archives on their way in."""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from pathlib import Path

import pytest
from starlette.types import Message

from gateway.endpoints.asgi import ClientLeft, Head
from gateway.errors import InvalidRequest, PayloadTooLarge, TooManyRequests
from gateway.ui.dropped import MOST_OF_ONE, STRAY_AFTER_S, Dropped, wishes_of
from tests.support.waiting import eventually, turns

pytestmark = pytest.mark.anyio


class Sender:
    """A client that sends these pieces."""

    def __init__(self, *pieces: bytes, leaves: bool = False) -> None:
        self._messages: list[Message] = [
            {"type": "http.request", "body": piece, "more_body": leaves or at < len(pieces) - 1}
            for at, piece in enumerate(pieces)
        ]
        self._messages += [{"type": "http.disconnect"}] * leaves

    async def __call__(self) -> Message:
        return self._messages.pop(0)


def head(length: int | None, **sent: str) -> Head:
    given = {"content-length": str(length)} if length is not None else {}
    return Head(
        [(name.replace("_", "-").encode(), value.encode()) for name, value in {**given, **sent}.items()]
    )


async def test_an_archive_is_kept_whole_under_a_harmless_name(tmp_path: Path) -> None:
    dropped = Dropped(tmp_path, 10_000_000)
    data = bytes(range(256)) * 12_000
    path = await dropped.receive("../a b;c.zip", head(len(data)), Sender(data[:1000], data[1000:]))
    assert path.read_bytes() == data
    assert path.parent == tmp_path / "uploads"
    assert path.name.partition("-")[2] == "a-b-c.zip"
    assert path.stat().st_mode & 0o777 == 0o600


async def test_nothing_is_left_of_what_does_not_come_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    close, closed_in = os.close, set[int]()

    def closed(handle: int) -> None:
        closed_in.add(threading.get_ident())
        close(handle)

    monkeypatch.setattr(os, "close", closed)
    dropped = Dropped(tmp_path, 100)
    with pytest.raises(ClientLeft):
        await dropped.receive("a.tar", head(50), Sender(b"x" * 10, leaves=True))
    with pytest.raises(InvalidRequest, match="longer"):
        await dropped.receive("a.tar", head(5), Sender(b"x" * 10))
    with pytest.raises(PayloadTooLarge, match=r"adapters\.max_bytes"):
        await dropped.receive("a.tar", head(101), Sender(b""))
    with pytest.raises(InvalidRequest, match="Content-Length"):
        await dropped.receive("a.tar", head(None), Sender(b"x"))
    assert threading.get_ident() not in closed_in, "to free a large one takes a while"
    assert list((tmp_path / "uploads").iterdir()) == []


async def test_few_at_once_and_what_a_kill_left_is_cleared(tmp_path: Path) -> None:
    dropped = Dropped(tmp_path, 100)
    (tmp_path / "uploads").mkdir()
    stray = tmp_path / "uploads" / "stray.tar"
    stray.touch()
    os.utime(stray, (stray.stat().st_mtime - STRAY_AFTER_S - 10,) * 2)

    async def meanwhile() -> Message:
        assert not stray.exists()
        if len(list(dropped.folder.iterdir())) == 1:
            await dropped.receive("b.tar", head(1), meanwhile)
        else:
            with pytest.raises(TooManyRequests):
                await dropped.receive("c.tar", head(1), meanwhile)
        return {"type": "http.request", "body": b"x", "more_body": False}

    await dropped.receive("a.tar", head(1), meanwhile)


async def test_one_tenant_does_not_keep_the_others_archives_out(tmp_path: Path) -> None:
    dropped = Dropped(tmp_path, 100)
    held = asyncio.Event()

    async def stalled() -> Message:
        await held.wait()
        return {"type": "http.request", "body": b"x", "more_body": False}

    stalling = [
        asyncio.create_task(dropped.receive("a.tar", head(1), stalled, "acme")) for _ in range(MOST_OF_ONE)
    ]
    await eventually(lambda: dropped.folder.exists() and len(list(dropped.folder.iterdir())) == MOST_OF_ONE)
    with pytest.raises(TooManyRequests):
        await dropped.receive("b.tar", head(1), Sender(b"x"), "acme")
    assert (await dropped.receive("b.tar", head(1), Sender(b"x"), "beta")).read_bytes() == b"x"
    held.set()
    await asyncio.gather(*stalling)
    await dropped.receive("b.tar", head(1), Sender(b"x"), "acme")


async def test_whoever_is_cancelled_closes_nothing_that_a_thread_writes_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The number would be another file's by then, and the archive's bytes would go into that."""
    writing, goes_on = threading.Event(), threading.Event()
    written: list[bool] = []

    def write(handle: int, data: bytearray) -> None:
        writing.set()
        goes_on.wait()
        with contextlib.suppress(OSError):
            written.append(os.fstat(handle).st_size == 0)

    monkeypatch.setattr("gateway.ui.dropped.write_all", write)
    dropped = Dropped(tmp_path, 100)
    task = asyncio.create_task(dropped.receive("a.tar", head(1), Sender(b"x")))
    await asyncio.to_thread(writing.wait)
    task.cancel()
    await turns(5)
    goes_on.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    await eventually(lambda: written == [True])
    assert list(dropped.folder.iterdir()) == []


async def test_an_archive_that_is_done_with_meanwhile_is_no_fault_of_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dropped = Dropped(tmp_path, 100)
    (tmp_path / "uploads").mkdir()
    gone = iter([tmp_path / "uploads" / "gone.tar"])
    monkeypatch.setattr(Path, "iterdir", lambda self: gone)
    assert (await dropped.receive("a.tar", head(1), Sender(b"x"))).read_bytes() == b"x"


def test_wishes_are_checked() -> None:
    wishes = wishes_of(
        [(b"x-adapter", b"%7B%22file%22:%22a.zip%22,%22task%22:%22naming%22,%22shadow%22:0.5%7D")]
    )
    assert (wishes.file, wishes.task, wishes.canary, wishes.shadow) == ("a.zip", "naming", None, 0.5)
    for value in (b"", b"{", b'{"file":"a.zip"}', b'{"file":"a.zip","task":"t","source":"/etc"}'):
        with pytest.raises(InvalidRequest, match="x-adapter"):
            wishes_of([(b"x-adapter", value)])
    with pytest.raises(InvalidRequest, match="no archive"):
        wishes_of([(b"x-adapter", b'{"file":"a.bin","task":"naming"}')])
