"""Uploads: what is refused, what is bounded, and that nothing is left behind."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from gateway.batches.folder import Folder
from gateway.endpoints.batches.files import MOST_OF_ONE_KEY
from gateway.endpoints.batches.uploads import WRITE_FROM_BYTES
from tests.support.batches.batch_stack import timed_stack, upload
from tests.support.stack import eventually, stack
from tests.unit.gateway.endpoints.batches.test_files import KEYS, A, B, contents

pytestmark = pytest.mark.anyio


def begun(key: str) -> bytes:
    """A large upload that goes no further, whose first bytes are on disk."""
    return (
        f"POST /v1/files HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key}\r\n"
        "content-type: multipart/form-data; boundary=b\r\ncontent-length: 2000000\r\n\r\n"
        '--b\r\ncontent-disposition: form-data; name="file"; filename="a"\r\n\r\n'
        f"{'x' * 2 * WRITE_FROM_BYTES}"
    ).encode()


@pytest.mark.parametrize(
    ("fields", "file", "status", "param", "says"),
    [
        ({}, b"x", 400, "purpose", "required"),
        ({"purpose": "assistants"}, b"x", 400, "purpose", "must be 'batch'"),
        ({"purpose": "batch", "colour": "red"}, b"x", 400, "colour", "Unknown parameter"),
        ({"purpose": "batch"}, b"", 400, "file", "empty"),
        ({"purpose": "batch"}, None, 400, "file", "required"),
        ({"purpose": "batch"}, b"x" * 5000, 413, "file", "batches.max_file_bytes"),
        ({"purpose": "x" * 5000}, b"x", 400, "purpose", "longer than"),
        (
            {"purpose": "batch", "expires_after[anchor]": "created_at", "expires_after[seconds]": "60"},
            b"x",
            400,
            "expires_after.seconds",
            "3600",
        ),
        ({"purpose": "batch", "expires_after[seconds]": "3600"}, b"x", 400, "expires_after.anchor", "anchor"),
        (
            {"purpose": "batch", "expires_after[anchor]": "created_at", "expires_after[seconds]": "\u00b2"},
            b"x",
            400,
            "expires_after.seconds",
            "whole number",
        ),
    ],
)
async def test_bad_upload_is_refused_and_leaves_nothing(
    tmp_path: Path, fields: dict[str, str], file: bytes | None, status: int, param: str, says: str
) -> None:
    async with timed_stack(tmp_path, batches={"max_file_bytes": 4000}) as made:
        files = {"file": ("input.jsonl", b"" if file is None else file)}
        if file is None:
            files = {"other": ("input.jsonl", b"x")}
        answer = await made.client.post("/v1/files", data=fields, files=files)
        error = answer.json()["error"]
        assert (answer.status_code, error["param"]) == (status, param), answer.text
        assert says in error["message"]
        assert contents(tmp_path) == []


@pytest.mark.parametrize(
    ("content_type", "body", "status"),
    [
        ("application/json", b"{}", 415),
        ("multipart/form-data", b"x", 400),
        ("multipart/form-data; boundary=b", b"not a form", 400),
        ("multipart/form-data; boundary=b", b'--b\r\ncontent-disposition: form-data; name="file"', 400),
        (f"multipart/form-data; boundary={'b' * 300}", b"x", 400),
    ],
)
async def test_what_is_no_form_is_refused(
    tmp_path: Path, content_type: str, body: bytes, status: int
) -> None:
    async with timed_stack(tmp_path) as made:
        answer = await made.client.post("/v1/files", content=body, headers={"content-type": content_type})
        assert answer.status_code == status, answer.text
        assert contents(tmp_path) == []


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/batches"])
async def test_forms_are_taken_for_files_alone(tmp_path: Path, path: str) -> None:
    async with timed_stack(tmp_path) as made:
        answer = await made.client.post(path, data={"purpose": "batch"}, files={"file": ("a", b"x")})
        assert answer.status_code == 415


async def test_client_that_leaves_an_upload_leaves_nothing(tmp_path: Path) -> None:
    async with timed_stack(tmp_path) as made:
        _, writer = await asyncio.open_connection("127.0.0.1", made.port)
        writer.write(begun("nobody"))
        await writer.drain()
        await eventually(lambda: len(contents(tmp_path)) == 1)
        writer.transport.abort()
        await eventually(lambda: not contents(tmp_path))


@pytest.mark.parametrize("leaves", [True, False])
async def test_no_client_waits_while_a_large_upload_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, leaves: bool
) -> None:
    """To free 250 MB took 25 to 85 ms, in which the event loop stood."""
    close, unlink, threads = os.close, Path.unlink, set[int]()

    def closed(handle: int) -> None:
        if "/uploads/" in os.readlink(f"/proc/self/fd/{handle}"):
            threads.add(threading.get_ident())
        close(handle)

    def unlinked(path: Path, missing_ok: bool = False) -> None:
        if path.parent.name == "uploads":
            threads.add(threading.get_ident())
        unlink(path, missing_ok)

    async with timed_stack(tmp_path) as made:
        monkeypatch.setattr(os, "close", closed)
        monkeypatch.setattr(Path, "unlink", unlinked)
        data = b"x" * (2 * WRITE_FROM_BYTES)
        if leaves:
            _, writer = await asyncio.open_connection("127.0.0.1", made.port)
            writer.write(begun("nobody") + data)
            await writer.drain()
            await eventually(lambda: len(contents(tmp_path)) == 1)
            writer.transport.abort()
        else:
            answer = await made.client.post("/v1/files", data={"purpose": "x"}, files={"file": ("a", data)})
            assert answer.status_code == 400
        await eventually(lambda: bool(threads) and not contents(tmp_path))
        assert threading.get_ident() not in threads


@pytest.mark.parametrize("spare_bytes", [-1, 0, 1])
async def test_a_file_is_whole_whether_it_was_held_or_written_as_it_came(
    tmp_path: Path, spare_bytes: int
) -> None:
    data = os.urandom(WRITE_FROM_BYTES + spare_bytes)
    async with timed_stack(tmp_path) as made:
        file_id = await upload(made, data)
        assert (await made.client.get(f"/v1/files/{file_id}/content")).content == data
        assert [path.name for path in contents(tmp_path)] == [file_id]


async def test_steady_upload_may_take_longer_than_a_request_and_a_stalled_one_not(tmp_path: Path) -> None:
    async with asyncio.timeout(30), stack(tmp_path) as made:

        def coming() -> Any:
            (connection,) = made.server.connections
            return connection

        def uploaded() -> int:
            return int(coming()._uploaded_bytes) if made.server.connections else 0

        reader, writer = await asyncio.open_connection("127.0.0.1", made.port)
        head = "POST /v1/files HTTP/1.1\r\nhost: x\r\ncontent-type: multipart/form-data; boundary=b\r\n"
        begin = '--b\r\ncontent-disposition: form-data; name="file"; filename="a"\r\n\r\n'
        end = '\r\n--b\r\ncontent-disposition: form-data; name="purpose"\r\n\r\nbatch\r\n--b--\r\n'
        piece = b"x" * 1024 * 1024
        length = len(begin) + 10 * len(piece) + len(end)
        writer.write(f"{head}content-length: {length}\r\n\r\n{begin}".encode())
        for _ in range(10):
            writer.write(piece)
            await eventually(lambda: bool(made.server.connections) and coming()._uploaded_bytes >= len(piece))
            coming()._late()  # its time is over, and so much has come within it
        writer.write(end.encode())
        answer = await reader.readuntil(b"}")
        assert answer.startswith(b"HTTP/1.1 200 "), answer
        writer.close()
        await eventually(lambda: not made.server.connections)
        asking = asyncio.create_task(
            made.raw(f"{head}content-length: {length}\r\n\r\n{begin}".encode() + piece[:9])
        )
        await eventually(lambda: uploaded() > 0)
        coming()._late()
        assert (await asking).startswith(b"HTTP/1.1 408 ")


async def test_bytes_around_the_form_count_as_well(tmp_path: Path) -> None:
    async def pieces(before: bytes, after: bytes) -> AsyncIterator[bytes]:
        for _ in range(3):
            yield before * 65536
        yield b'--b\r\ncontent-disposition: form-data; name="file"; filename="a"\r\n\r\nx\r\n'
        yield b'--b\r\ncontent-disposition: form-data; name="purpose"\r\n\r\nbatch\r\n--b--\r\n'
        for _ in range(3):
            yield after * 65536

    async with timed_stack(tmp_path, batches={"max_file_bytes": 4000}) as made:
        headers = {"content-type": "multipart/form-data; boundary=b"}
        for before, after in ((b"\r\n", b""), (b"", b"\r\n")):
            answer = await made.client.post("/v1/files", content=pieces(before, after), headers=headers)
            assert answer.status_code == 413, answer.text
            await eventually(lambda: contents(tmp_path) == [])  # the server may answer before the endpoint


async def test_one_key_does_not_keep_the_others_from_uploading(tmp_path: Path) -> None:
    async with timed_stack(tmp_path, keys=KEYS) as made:
        writers = []
        for _ in range(MOST_OF_ONE_KEY):
            _, writer = await asyncio.open_connection("127.0.0.1", made.port)
            writer.write(begun("a"))
            writers.append(writer)
        await eventually(lambda: len(contents(tmp_path)) == MOST_OF_ONE_KEY)
        form = {"files": {"file": ("a", b"x")}, "data": {"purpose": "batch"}}
        refused = await made.client.post("/v1/files", headers=A, **form)  # type: ignore[arg-type]
        assert (refused.status_code, refused.json()["error"]["code"]) == (429, "rate_limit_exceeded")
        taken = await made.client.post("/v1/files", headers=B, **form)  # type: ignore[arg-type]
        assert taken.status_code == 200, taken.text
        for writer in writers:
            writer.transport.abort()
        await eventually(lambda: len(contents(tmp_path)) == 1)

        async def taken_again() -> bool:
            again = await made.client.post("/v1/files", headers=A, **form)  # type: ignore[arg-type]
            return bool(again.status_code == 200)

        await eventually(taken_again)  # once what was begun is removed, which is done beside the loop


async def test_a_tenants_keys_upload_no_more_at_once_than_one_key(tmp_path: Path) -> None:
    def key(name: str, tenant: str) -> dict[str, str]:
        return {"sha256": hashlib.sha256(name.encode()).hexdigest(), "tenant": tenant}

    async with timed_stack(
        tmp_path, keys={"a": key("a", "acme"), "b": key("b", "acme"), "c": key("c", "beta")}
    ) as made:
        writers = []
        for number in range(MOST_OF_ONE_KEY):
            _, writer = await asyncio.open_connection("127.0.0.1", made.port)
            writer.write(begun("ab"[number % 2]))
            writers.append(writer)
        await eventually(lambda: len(contents(tmp_path)) == MOST_OF_ONE_KEY)
        form_of = {"files": {"file": ("a", b"x")}, "data": {"purpose": "batch"}}
        for name, status in (("a", 429), ("b", 429), ("c", 200)):
            headers = {"authorization": f"Bearer {name}"}
            answer = await made.client.post("/v1/files", headers=headers, **form_of)  # type: ignore[arg-type]
            assert answer.status_code == status, answer.text
        for writer in writers:
            writer.transport.abort()
        await eventually(lambda: len(contents(tmp_path)) == 1)


@pytest.mark.parametrize("size_bytes", [1, WRITE_FROM_BYTES + 1])
async def test_disk_that_fails_is_a_503_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size_bytes: int
) -> None:
    def full(self: Folder) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Folder, "sync_names", full)
    async with timed_stack(tmp_path) as made:
        form = {"files": {"file": ("a", b"x" * size_bytes)}, "data": {"purpose": "batch"}}
        answer = await made.client.post("/v1/files", **form)  # type: ignore[arg-type]
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "batches_unavailable")
        assert contents(tmp_path) == []


@pytest.mark.parametrize(
    ("disposition", "name"),
    [
        ('name="file"; filename="caf\u00e9 \u65e5\u672c.jsonl"', "caf\u00e9 \u65e5\u672c.jsonl"),
        ("name=file; filename*=UTF-8''caf%C3%A9.jsonl", "caf\u00e9.jsonl"),
        ("name=\"file\"; filename*=utf-8'en'caf%C3%A9.jsonl", "caf\u00e9.jsonl"),
        ("name=file; filename*=iso-8859-1''caf%E9.jsonl", "caf\u00e9.jsonl"),
        ("name=file; filename=\"=?utf-8?B?Y2Fmw6k=?=\"; filename*=utf-8''caf%C3%A9", "caf\u00e9"),
        ("name=file; filename=a.jsonl; filename*=utf-8''b.jsonl", "a.jsonl"),
        ("name=file; filename*=utf-8''..%2F..%2Fetc%2Fpasswd", "passwd"),
    ],
)
async def test_a_files_name_is_read_however_a_client_writes_it(
    tmp_path: Path, disposition: str, name: str
) -> None:
    async with timed_stack(tmp_path) as made:
        form = (
            f"--b\r\nContent-Disposition: form-data; {disposition}\r\n\r\n{{}}\r\n"
            "--b\r\nContent-Disposition: form-data; name=purpose\r\nContent-Type: text/plain; charset=utf-8"
            "\r\n\r\nbatch\r\n--b--\r\n"
        )
        head = {"content-type": "multipart/form-data; boundary=b"}
        answer = await made.client.post("/v1/files", content=form.encode(), headers=head)
        assert (answer.status_code, answer.json()["filename"]) == (200, name)
