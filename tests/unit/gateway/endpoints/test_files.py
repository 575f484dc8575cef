"""`/v1/files`: uploads, lists, contents, and whose they are."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import json
import os
import stat
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from gateway.batches.folder import Folder
from gateway.endpoints.files import MOST_OF_ONE_KEY
from tests.support.batch_stack import line, run, upload
from tests.support.stack import Stack, eventually, stack

KEYS = {
    "team-a": {"sha256": hashlib.sha256(b"a").hexdigest()},
    "team-b": {"sha256": hashlib.sha256(b"b").hexdigest(), "tasks": ["naming"]},
}
A, B = {"authorization": "Bearer a"}, {"authorization": "Bearer b"}


def contents(folder: Path) -> list[Path]:
    return [path for name in ("files", "uploads") for path in (folder / "batches" / name).iterdir()]


def test_file_is_kept_shown_and_deleted(tmp_path: Path) -> None:
    async def work(made: Stack) -> None:
        file_id = await upload(made, b'{"a": 1}\n')
        answer = (await made.client.get(f"/v1/files/{file_id}")).json()
        assert answer["expires_at"] - answer["created_at"] == 30 * 24 * 3600
        assert {key: answer[key] for key in ("object", "bytes", "filename", "purpose", "status")} == {
            "object": "file",
            "bytes": 9,
            "filename": "input.jsonl",
            "purpose": "batch",
            "status": "processed",
        }
        (path,) = contents(tmp_path)
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_IMODE((tmp_path / "batches").stat().st_mode) == 0o700
        assert stat.S_IMODE((tmp_path / "batches" / "batches.sqlite").stat().st_mode) == 0o600
        content = await made.client.get(f"/v1/files/{file_id}/content", headers={"range": "bytes=0-1"})
        assert (content.status_code, content.content) == (200, b'{"a": 1}\n')
        assert content.headers["accept-ranges"] == "none"
        gone = (await made.client.delete(f"/v1/files/{file_id}")).json()
        assert gone == {"id": file_id, "object": "file", "deleted": True}
        assert contents(tmp_path) == []
        for path_of in (f"/v1/files/{file_id}", f"/v1/files/{file_id}/content"):
            missing = await made.client.get(path_of)
            assert (missing.status_code, missing.json()["error"]["code"]) == (404, "not_found")

    run(tmp_path, work)


def test_files_are_listed_page_by_page(tmp_path: Path) -> None:
    async def work(made: Stack) -> None:
        ids = [await upload(made, b"x\n") for _ in range(5)]

        async def listed(query: str) -> tuple[list[str], bool]:
            answer = await made.client.get(f"/v1/files{query}")
            assert answer.status_code == 200, answer.text
            page = answer.json()
            return [each["id"] for each in page["data"]], page["has_more"]

        assert await listed("") == (ids[::-1], False)
        assert await listed("?limit=2") == ([ids[4], ids[3]], True)
        assert await listed(f"?limit=2&after={ids[3]}") == ([ids[2], ids[1]], True)
        assert await listed(f"?limit=2&after={ids[1]}") == ([ids[0]], False)
        assert await listed("?order=asc&limit=1&purpose=batch") == ([ids[0]], True)
        assert await listed("?purpose=batch_output") == ([], False)
        for query, param in (
            ("?limit=0", "limit"),
            ("?limit=x", "limit"),
            ("?order=up", "order"),
            ("?colour=red", "colour"),
        ):
            refused = await made.client.get(f"/v1/files{query}")
            assert (refused.status_code, refused.json()["error"]["param"]) == (400, param)
        assert (await made.client.get("/v1/files?after=file-no")).status_code == 404

    run(tmp_path, work)


def test_files_belong_to_the_key_that_made_them(tmp_path: Path) -> None:
    async def work(made: Stack) -> None:
        assert (await made.client.get("/v1/files")).status_code == 401
        assert (await made.client.post("/v1/files", files={"file": ("a", b"x")})).status_code == 401
        file_id = await upload(made, [line(1)], **A)
        for method, path in (
            ("GET", f"/v1/files/{file_id}"),
            ("GET", f"/v1/files/{file_id}/content"),
            ("DELETE", f"/v1/files/{file_id}"),
        ):
            assert (await made.client.request(method, path, headers=B)).status_code == 404
        assert (await made.client.get("/v1/files", headers=B)).json()["data"] == []
        asked = {
            "input_file_id": file_id,
            "endpoint": "/v1/chat/completions",
            "completion_window": "24h",
        }
        refused = await made.client.post("/v1/batches", json=asked, headers=B)
        assert (refused.status_code, refused.json()["error"]["param"]) == (404, "input_file_id")
        batch_id = (await made.client.post("/v1/batches", json=asked, headers=A)).json()["id"]
        for method, path in (("GET", ""), ("POST", "/cancel")):
            answer = await made.client.request(method, f"/v1/batches/{batch_id}{path}", headers=B)
            assert answer.status_code == 404
        assert (await made.client.get("/v1/batches", headers=B)).json()["data"] == []
        assert len((await made.client.get("/v1/batches", headers=A)).json()["data"]) == 1

    run(tmp_path, work, keys=KEYS)


@pytest.mark.parametrize(
    ("fields", "file", "status", "param", "says"),
    [
        ({}, b"x", 400, "purpose", "required"),
        ({"purpose": "assistants"}, b"x", 400, "purpose", "must be 'batch'"),
        ({"purpose": "batch", "colour": "red"}, b"x", 400, "colour", "Unknown field"),
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
def test_bad_upload_is_refused_and_leaves_nothing(
    tmp_path: Path, fields: dict[str, str], file: bytes | None, status: int, param: str, says: str
) -> None:
    async def work(made: Stack) -> None:
        files = {"file": ("input.jsonl", b"" if file is None else file)}
        if file is None:
            files = {"other": ("input.jsonl", b"x")}
        answer = await made.client.post("/v1/files", data=fields, files=files)
        error = answer.json()["error"]
        assert (answer.status_code, error["param"]) == (status, param), answer.text
        assert says in error["message"]
        assert contents(tmp_path) == []

    run(tmp_path, work, batches={"max_file_bytes": 4000})


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
def test_what_is_no_form_is_refused(tmp_path: Path, content_type: str, body: bytes, status: int) -> None:
    async def work(made: Stack) -> None:
        answer = await made.client.post("/v1/files", content=body, headers={"content-type": content_type})
        assert answer.status_code == status, answer.text
        assert contents(tmp_path) == []

    run(tmp_path, work)


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/batches"])
def test_forms_are_taken_for_files_alone(tmp_path: Path, path: str) -> None:
    async def work(made: Stack) -> None:
        answer = await made.client.post(path, data={"purpose": "batch"}, files={"file": ("a", b"x")})
        assert answer.status_code == 415

    run(tmp_path, work)


def test_full_store_refuses_uploads_until_something_is_deleted(tmp_path: Path) -> None:
    async def work(made: Stack) -> None:
        first = await upload(made, b"x" * 600)
        form = {"data": {"purpose": "batch"}, "files": {"file": ("input.jsonl", b"x" * 600)}}
        refused = await made.client.post("/v1/files", **form)  # type: ignore[arg-type]
        assert (refused.status_code, refused.json()["error"]["code"]) == (413, "storage_full")
        assert "batches.max_kept_bytes" in refused.json()["error"]["message"]
        assert len(contents(tmp_path)) == 1
        await made.client.delete(f"/v1/files/{first}")
        assert (await made.client.post("/v1/files", **form)).status_code == 200  # type: ignore[arg-type]

    run(tmp_path, work, batches={"max_kept_bytes": 1100})


@pytest.mark.parametrize("batches", [{"max_kept_bytes": 2200}, {"max_kept_bytes_per_key": 1100}])
def test_a_key_that_fills_its_part_leaves_the_others_theirs(tmp_path: Path, batches: dict[str, int]) -> None:
    async def work(made: Stack) -> None:
        form = {"data": {"purpose": "batch"}, "files": {"file": ("input.jsonl", b"x" * 600)}}
        first = await made.client.post("/v1/files", headers=A, **form)  # type: ignore[arg-type]
        refused = await made.client.post("/v1/files", headers=A, **form)  # type: ignore[arg-type]
        assert (refused.status_code, refused.json()["error"]["code"]) == (413, "storage_full")
        message = refused.json()["error"]["message"]
        assert "of this key have 600 bytes" in message
        assert "may have 1100 (batches.max_kept_bytes_per_key)" in message
        other = await made.client.post("/v1/files", headers=B, **form)  # type: ignore[arg-type]
        assert other.status_code == 200
        await made.client.delete(f"/v1/files/{first.json()['id']}", headers=A)
        again = await made.client.post("/v1/files", headers=A, **form)  # type: ignore[arg-type]
        assert again.status_code == 200

    run(tmp_path, work, keys=KEYS, batches=batches)


def test_a_key_that_may_call_nothing_keeps_no_file(tmp_path: Path) -> None:
    async def work(made: Stack) -> None:
        form = {"data": {"purpose": "batch"}, "files": {"file": ("input.jsonl", b"x")}}
        refused = await made.client.post(
            "/v1/files",
            headers={"authorization": "Bearer none"},
            **form,  # type: ignore[arg-type]
        )
        assert (refused.status_code, refused.json()["error"]["code"]) == (403, "permission_denied")
        assert contents(tmp_path) == []

    nothing = {"sha256": hashlib.sha256(b"none").hexdigest(), "tasks": []}
    run(tmp_path, work, keys={**KEYS, "nothing": nothing})


def test_file_whose_time_is_over_is_gone_and_its_content_removed(tmp_path: Path) -> None:
    async def work(made: Stack) -> None:
        library = made.gateway.batches.library
        form = {"purpose": "batch", "expires_after[anchor]": "created_at", "expires_after[seconds]": "3600"}
        files = {"file": ("input.jsonl", b"x")}
        file = (await made.client.post("/v1/files", data=form, files=files)).json()
        assert file["expires_at"] - file["created_at"] == 3600
        stray = tmp_path / "batches" / "files" / "file-left-by-a-kill"
        stray.write_bytes(b"x")
        os.utime(stray, (1, 1))
        library.clock = lambda: file["expires_at"] + 1.0
        assert (await made.client.get(f"/v1/files/{file['id']}")).status_code == 404
        await made.gateway.batches.runner.sweep()
        assert contents(tmp_path) == []

    run(tmp_path, work)


def test_client_that_leaves_an_upload_leaves_nothing(tmp_path: Path) -> None:
    async def work(made: Stack) -> None:
        _, writer = await asyncio.open_connection("127.0.0.1", made.port)
        head = "POST /v1/files HTTP/1.1\r\nhost: x\r\ncontent-type: multipart/form-data; boundary=b\r\n"
        part = '--b\r\ncontent-disposition: form-data; name="file"; filename="a"\r\n\r\n'
        writer.write(f"{head}content-length: 100000\r\n\r\n{part}{'x' * 5000}".encode())
        await writer.drain()
        await eventually(lambda: len(contents(tmp_path)) == 1)
        writer.transport.abort()
        await eventually(lambda: not contents(tmp_path))

    run(tmp_path, work)


def test_steady_upload_may_take_longer_than_a_request_and_a_stalled_one_not(tmp_path: Path) -> None:
    async def main() -> None:
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
                await eventually(
                    lambda: bool(made.server.connections) and coming()._uploaded_bytes >= len(piece)
                )
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

    asyncio.run(main())


def test_bytes_around_the_form_count_as_well(tmp_path: Path) -> None:
    async def pieces(before: bytes, after: bytes) -> AsyncIterator[bytes]:
        for _ in range(3):
            yield before * 65536
        yield b'--b\r\ncontent-disposition: form-data; name="file"; filename="a"\r\n\r\nx\r\n'
        yield b'--b\r\ncontent-disposition: form-data; name="purpose"\r\n\r\nbatch\r\n--b--\r\n'
        for _ in range(3):
            yield after * 65536

    async def work(made: Stack) -> None:
        headers = {"content-type": "multipart/form-data; boundary=b"}
        for before, after in ((b"\r\n", b""), (b"", b"\r\n")):
            answer = await made.client.post("/v1/files", content=pieces(before, after), headers=headers)
            assert answer.status_code == 413, answer.text
            assert contents(tmp_path) == []

    run(tmp_path, work, batches={"max_file_bytes": 4000})


def test_one_key_does_not_keep_the_others_from_uploading(tmp_path: Path) -> None:
    async def work(made: Stack) -> None:
        head = "POST /v1/files HTTP/1.1\r\nhost: x\r\nauthorization: Bearer a\r\ncontent-length: 1000\r\n"
        begun = f"{head}content-type: multipart/form-data; boundary=b\r\n\r\n--b\r\n".encode()
        writers = []
        for _ in range(MOST_OF_ONE_KEY):
            _, writer = await asyncio.open_connection("127.0.0.1", made.port)
            writer.write(begun)
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
        again = await made.client.post("/v1/files", headers=A, **form)  # type: ignore[arg-type]
        assert again.status_code == 200, again.text

    run(tmp_path, work, keys=KEYS)


def test_content_that_was_cut_off_breaks_the_download_off(tmp_path: Path) -> None:
    async def work(made: Stack) -> None:
        file_id = await upload(made, b'{"a": 1}\n')
        (path,) = contents(tmp_path)
        os.truncate(path, 3)
        with pytest.raises(httpx.RemoteProtocolError):
            await made.client.get(f"/v1/files/{file_id}/content")

    run(tmp_path, work)


def test_disk_that_fails_is_a_503_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: Folder, path: Path, file_id: str) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    async def work(made: Stack) -> None:
        form = {"files": {"file": ("a", b"x")}, "data": {"purpose": "batch"}}
        answer = await made.client.post("/v1/files", **form)  # type: ignore[arg-type]
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "batches_unavailable")
        assert contents(tmp_path) == []

    monkeypatch.setattr(Folder, "keep_upload", full)
    run(tmp_path, work)


def test_disabled_batches_have_no_routes(tmp_path: Path) -> None:
    async def work(made: Stack) -> None:
        for path in ("/v1/files", "/v1/batches"):
            answer = await made.client.get(path)
            assert (answer.status_code, json.loads(answer.text)["error"]["code"]) == (404, "not_found")
        assert not (tmp_path / "batches").exists()

    run(tmp_path, work, batches={"enabled": False})
