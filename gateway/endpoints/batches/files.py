"""`/v1/files`: what batches read and what they write."""

from __future__ import annotations

import asyncio
import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import BinaryIO

from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from gateway.admission.api_keys import Keys
from gateway.batches.database import NoRoom, Store
from gateway.batches.folder import Folder
from gateway.batches.records import FileRecord, kept_seconds, new_file_id
from gateway.batches.runner import DAY_S
from gateway.batches.storage import BatchStorage
from gateway.endpoints.asgi import Head
from gateway.endpoints.batches.uploads import WRITE_FROM_BYTES, Upload, receive_upload, to_its_end
from gateway.endpoints.resource import (
    JsonDocument,
    Resource,
    ResourceRequest,
    check_known,
    limit_of,
    page_of,
    query_of,
)
from gateway.errors import (
    Forbidden,
    InvalidRequest,
    NotFound,
    PayloadTooLarge,
    TooManyRequests,
    Unavailable,
)
from gateway.relay.client_side import until_client_leaves

PATH = "/v1/files"
PURPOSE = "batch"
MOST_LISTED = 10_000
MOST_UPLOADS = 8
"""At once, in one process."""
MOST_OF_ONE_KEY = MOST_UPLOADS // 2
"""So that none keeps the others out."""
PIECE_BYTES = 256 * 1024
KNOWN_FIELDS = ("file", "purpose", "expires_after[anchor]", "expires_after[seconds]")


class FileEndpoints:
    """The routes of files: upload and list, show and delete, and a file's content."""

    def __init__(self, keys: Keys, library: BatchStorage) -> None:
        self._keys = keys
        self._library = library
        self._uploads: Counter[str] = Counter()
        """Under way, by `Principal.payer`."""

    def routes(self) -> list[Route]:
        content = FileContent(self._keys, self._library)
        many = Resource(self._keys, {"POST": self._upload, "GET": self._list})
        one = Resource(self._keys, {"GET": self._show, "DELETE": self._delete})
        return [
            Route(PATH, endpoint=many, methods=["GET", "POST"]),
            Route(f"{PATH}/{{id}}", endpoint=one, methods=["GET", "DELETE"]),
            Route(f"{PATH}/{{id}}/content", endpoint=content, methods=["GET"]),
        ]

    async def _upload(self, call: ResourceRequest) -> JsonDocument:
        library, principal, coming_bytes = self._library, call.principal, call.head.content_length
        if principal.may_nothing:
            raise Forbidden("The key may call no model, so a batch of its could ask for none.", param="file")
        bounds, most_bytes = library.most_bytes(self._keys.several), library.settings.max_file_bytes
        try:
            if coming_bytes is None or coming_bytes > WRITE_FROM_BYTES:  # a small one, once it is here
                await library.ask(lambda store: store.check_room(principal.name, coming_bytes or 0, *bounds))
            with self._under_way(principal.payer):
                upload = await receive_upload(
                    call.head, call.receive, library.folder, most_bytes, "batches.max_file_bytes"
                )
                try:
                    now, kept_s = library.now, _kept_s(upload.fields, library.settings.keep_days)
                    named = new_file_id(), principal.name, PURPOSE, upload.filename
                    record = FileRecord(*named, upload.size_bytes, now, now + kept_s)
                    await library.ask(partial(_keep, library.folder, upload, record, bounds))
                finally:
                    await upload.remove()
        except NoRoom as full:
            raise storage_full(full, *bounds) from None
        except OSError as error:
            raise _not_kept(error) from error
        return record.document()

    @contextmanager
    def _under_way(self, payer: str) -> Iterator[None]:
        """Raises Unavailable (503), TooManyRequests (429) where as many are as may."""
        if self._uploads.total() >= MOST_UPLOADS:
            raise Unavailable(
                f"{MOST_UPLOADS} files are being uploaded, the most that may.",
                code="overloaded",
                retry_after_s=5,
            )
        if self._uploads[payer] >= MOST_OF_ONE_KEY:
            raise TooManyRequests(
                f"{MOST_OF_ONE_KEY} files of this key or its tenant are being uploaded, the most that may.",
                retry_after_s=5,
            )
        self._uploads[payer] += 1
        try:
            yield
        finally:
            self._uploads[payer] -= 1
            if not self._uploads[payer]:
                del self._uploads[payer]

    async def _list(self, call: ResourceRequest) -> JsonDocument:
        query = query_of(call.scope, ("after", "limit", "order", "purpose"))
        limit = limit_of(query, MOST_LISTED, MOST_LISTED)
        order = query.get("order", "desc")
        if order not in ("asc", "desc"):
            raise InvalidRequest("'order' must be 'asc' or 'desc'.", param="order")
        after, purpose, now = query.get("after"), query.get("purpose"), self._library.now
        newest_first, owner = order == "desc", call.principal.name
        found = await self._library.ask(
            lambda store: store.files(
                owner, now, after=after, limit=limit, purpose=purpose, newest_first=newest_first
            )
        )
        if found is None:
            raise NotFound(f"There is no file '{(after or '')[:80]}'.", param="after")
        return page_of([record.document() for record in found], limit)

    async def _show(self, call: ResourceRequest) -> JsonDocument:
        return (await self._library.file(call.named, call.principal.name)).document()

    async def _delete(self, call: ResourceRequest) -> JsonDocument:
        file_id = call.named
        await self._library.file(file_id, call.principal.name)
        user = await self._library.ask(partial(self._forget, file_id, call.principal.name))
        if user:
            raise InvalidRequest(
                f"The file is the input of {user}, which is not at its end; cancel that first.",
                param="id",
                code="file_in_use",
            )
        await asyncio.to_thread(self._library.folder.remove, file_id)
        return {"id": file_id, "object": "file", "deleted": True}

    def _forget(self, file_id: str, owner: str, store: Store) -> str | None:
        """As `Store.delete_file`, in its thread; what a full disk has no room to note makes that room."""
        try:
            return store.delete_file(file_id, owner)
        except sqlite3.Error as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_FULL:
                raise
            self._library.folder.remove(file_id)  # no batch needs it: else nothing was to be written
            return store.delete_file(file_id, owner)


def storage_full(full: NoRoom, most_bytes: int, most_of_key: int) -> PayloadTooLarge:
    """The 413 that says whose files are too many."""
    if full.too_many:
        return PayloadTooLarge(
            f"The key has {full.too_many} files, the most that it may have; delete some first.",
            param="file",
            code="storage_full",
        )
    whose, bound, key = (
        ("of this key", most_of_key, "max_kept_bytes_per_key")
        if full.own
        else ("kept", most_bytes, "max_kept_bytes")
    )
    return PayloadTooLarge(
        f"The files {whose} have {full.kept_bytes} bytes already and may have {bound} (batches.{key}); "
        "delete some first.",
        param="file",
        code="storage_full",
    )


class FileContent:
    """`/v1/files/{id}/content`: the whole of it, whatever range is asked for."""

    def __init__(self, keys: Keys, library: BatchStorage) -> None:
        self._keys = keys
        self._library = library

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        head = Head(scope["headers"])
        owner = self._keys.principal(head.authorization, head.api_keys, scope.get("client")).name
        record = await self._library.file(scope["path_params"]["id"], owner)
        with await asyncio.to_thread(self._open, record) as file:
            work = _send_file(file, record, head.request_id, send, whole=scope["method"] != "HEAD")
            await until_client_leaves(work, scope, receive)

    def _open(self, record: FileRecord) -> BinaryIO:
        try:
            return self._library.folder.content(record.id).open("rb")
        except FileNotFoundError:  # deleted in this moment
            raise NotFound(f"There is no file '{record.id}'.", param="id") from None


async def _send_file(
    file: BinaryIO, record: FileRecord, request_id: bytes, send: Send, *, whole: bool
) -> None:
    headers = [
        (b"content-type", b"application/octet-stream"),
        (b"content-length", b"%d" % record.size_bytes),
        (b"accept-ranges", b"none"),
        (b"x-request-id", request_id),
    ]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    left = record.size_bytes if whole else 0
    while left:
        piece = await to_its_end(file.read, min(left, PIECE_BYTES))
        if not piece:
            raise OSError(f"the content of {record.id} is {left} bytes short")
        left -= len(piece)
        await send({"type": "http.response.body", "body": piece, "more_body": bool(left)})
    if not whole:
        await send({"type": "http.response.body", "body": b""})


def _keep(folder: Folder, upload: Upload, record: FileRecord, bounds: tuple[int, int], store: Store) -> None:
    """In the store's own thread; what the store does not take is not kept either. Raises NoRoom."""
    # The content before its row: of a kill in between is left what `Folder.sweep` removes, not a file
    # without content.
    try:
        if upload.path is None:
            folder.add(record.id, upload.unwritten)
        else:
            folder.keep_upload(upload.path, record.id)
        store.add_file(record, *bounds)
    except BaseException as error:
        folder.remove(record.id)
        if isinstance(error, OSError):
            raise _not_kept(error) from error
        raise


def _not_kept(error: OSError) -> Unavailable:
    return Unavailable(
        f"The file cannot be kept: {error.strerror}.", code="batches_unavailable", retry_after_s=60
    )


def _kept_s(fields: dict[str, str], keep_days: int) -> int:
    """Raises InvalidRequest."""
    check_known(fields, KNOWN_FIELDS)
    purpose = fields.get("purpose")
    if purpose is None:
        raise InvalidRequest("'purpose' is required.", param="purpose", code="missing_required_parameter")
    if purpose != PURPOSE:
        raise InvalidRequest(
            f"The purpose must be '{PURPOSE}', not '{purpose[:40]}': files are for batches here.",
            param="purpose",
        )
    anchor, seconds = fields.get("expires_after[anchor]"), fields.get("expires_after[seconds]")
    if anchor is None and seconds is None:
        return keep_days * DAY_S
    plain = seconds is not None and seconds.isascii() and seconds.isdigit() and len(seconds) < 12
    number = int(seconds) if seconds is not None and plain else seconds
    return kept_seconds(anchor, number, "expires_after")
