"""`/v1/files`: lists, contents, and whose they are."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import sqlite3
import stat
import threading
from pathlib import Path

import httpx
import pytest

from gateway.batches.database import Store
from tests.fakes.sqlite_faults import sqlite_fault
from tests.support.batches.batch_stack import line, timed_stack, upload
from tests.support.stack import eventually
from tests.support.waiting import calls, turns

pytestmark = pytest.mark.anyio

KEYS = {
    "team-a": {"sha256": hashlib.sha256(b"a").hexdigest()},
    "team-b": {"sha256": hashlib.sha256(b"b").hexdigest(), "tasks": ["naming"]},
}


A, B = {"authorization": "Bearer a"}, {"authorization": "Bearer b"}


def contents(folder: Path) -> list[Path]:
    return [path for name in ("files", "uploads") for path in (folder / "batches" / name).glob("*")]


async def test_file_is_kept_shown_and_deleted(tmp_path: Path) -> None:
    async with timed_stack(tmp_path) as made:
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


async def test_files_are_listed_page_by_page(tmp_path: Path) -> None:
    async with timed_stack(tmp_path) as made:
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


async def test_files_belong_to_the_key_that_made_them(tmp_path: Path) -> None:
    async with timed_stack(tmp_path, keys=KEYS) as made:
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


async def test_full_store_refuses_uploads_until_something_is_deleted(tmp_path: Path) -> None:
    async with timed_stack(tmp_path, batches={"max_kept_bytes": 1100}) as made:
        first = await upload(made, b"x" * 600)
        form = {"data": {"purpose": "batch"}, "files": {"file": ("input.jsonl", b"x" * 600)}}
        refused = await made.client.post("/v1/files", **form)  # type: ignore[arg-type]
        assert (refused.status_code, refused.json()["error"]["code"]) == (413, "storage_full")
        assert "batches.max_kept_bytes" in refused.json()["error"]["message"]
        assert len(contents(tmp_path)) == 1
        await made.client.delete(f"/v1/files/{first}")
        assert (await made.client.post("/v1/files", **form)).status_code == 200  # type: ignore[arg-type]


async def test_a_file_can_be_deleted_on_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    delete = Store.delete_file

    def full(self: Store, file_id: str, owner: str) -> str | None:
        if contents(tmp_path):
            raise sqlite_fault(sqlite3.SQLITE_FULL)
        return delete(self, file_id, owner)

    async with timed_stack(tmp_path) as made:
        file_id = await upload(made, b"x")
        monkeypatch.setattr(Store, "delete_file", full)
        assert (await made.client.delete(f"/v1/files/{file_id}")).json()["deleted"] is True
        assert (await made.client.get(f"/v1/files/{file_id}")).status_code == 404


@pytest.mark.parametrize("batches", [{"max_kept_bytes": 2200}, {"max_kept_bytes_per_key": 1100}])
async def test_a_key_that_fills_its_part_leaves_the_others_theirs(
    tmp_path: Path, batches: dict[str, int]
) -> None:
    async with timed_stack(tmp_path, keys=KEYS, batches=batches) as made:
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


async def test_a_key_that_may_call_nothing_keeps_no_file(tmp_path: Path) -> None:
    nothing = {"sha256": hashlib.sha256(b"none").hexdigest(), "tasks": []}
    async with timed_stack(tmp_path, keys={**KEYS, "nothing": nothing}) as made:
        form = {"data": {"purpose": "batch"}, "files": {"file": ("input.jsonl", b"x")}}
        refused = await made.client.post(
            "/v1/files",
            headers={"authorization": "Bearer none"},
            **form,  # type: ignore[arg-type]
        )
        assert (refused.status_code, refused.json()["error"]["code"]) == (403, "permission_denied")
        assert contents(tmp_path) == []


async def test_file_whose_time_is_over_is_gone_and_its_content_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with timed_stack(tmp_path) as made:
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
        removed_in = set[int]()
        remove = library.folder.remove

        def noted(*file_ids: str) -> None:
            removed_in.add(threading.get_ident())
            remove(*file_ids)

        monkeypatch.setattr(library.folder, "remove", noted)
        await made.gateway.batches.runner.sweep()
        assert contents(tmp_path) == []
        assert threading.get_ident() not in removed_in, "a file of gigabytes takes a while"


async def test_content_that_was_cut_off_breaks_the_download_off(tmp_path: Path) -> None:
    async with timed_stack(tmp_path) as made:
        file_id = await upload(made, b'{"a": 1}\n')
        (path,) = contents(tmp_path)
        os.truncate(path, 3)
        with pytest.raises(httpx.RemoteProtocolError):
            await made.client.get(f"/v1/files/{file_id}/content")


async def test_a_client_that_leaves_while_the_disk_stands_still_holds_nobody_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.endpoints.batches.files.PIECE_BYTES", 4)
    async with timed_stack(tmp_path) as made:
        file_id = await upload(made, b'{"a": 1}\n')
        (path,) = contents(tmp_path)
        path.unlink()
        os.mkfifo(path)  # a read of it waits for what its writer says
        opened = calls(made.gateway.batches.library.folder, "content")
        reader, writer = await asyncio.open_connection("127.0.0.1", made.port)
        writer.write(f"GET /v1/files/{file_id}/content HTTP/1.1\r\nhost: x\r\n\r\n".encode())
        await eventually(lambda: bool(opened))
        disk = await asyncio.to_thread(os.open, path, os.O_WRONLY)
        late = threading.Timer(5.0, os.close, (disk,))  # only where everybody else waits too
        late.start()
        os.write(disk, b"{'a'")
        await reader.readuntil(b"{'a'")
        await turns(50)  # the next piece is read
        writer.transport.abort()
        await turns(50)
        assert (await made.client.get("/v1/files")).status_code == 200
        assert late.is_alive()
        late.cancel()
        os.close(disk)


async def test_disabled_batches_have_no_routes(tmp_path: Path) -> None:
    async with timed_stack(tmp_path, batches={"enabled": False}) as made:
        for path in ("/v1/files", "/v1/batches"):
            answer = await made.client.get(path)
            assert (answer.status_code, json.loads(answer.text)["error"]["code"]) == (404, "not_found")
        assert not (tmp_path / "batches").exists()
