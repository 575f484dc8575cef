"""A file that comes as `multipart/form-data`; of a large one, only the piece at hand is held."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar
from urllib.parse import unquote_to_bytes

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.types import Receive

from gateway.batches.folder import Folder
from gateway.endpoints.asgi import ClientLeft, Head
from gateway.endpoints.unpacking import coding_of
from gateway.errors import InvalidRequest, PayloadTooLarge, UnsupportedMedia

T = TypeVar("T")
FORM_OVERHEAD_BYTES = 64 * 1024
"""What the form may have beside the file."""
MOST_FIELDS = 16
MOST_FIELD_BYTES = 4096
MOST_NAME_CHARS = 255
WRITE_FROM_BYTES = 256 * 1024
"""A file with fewer is small: it is held, and written once it is whole."""
_EXTENDED = re.compile(rb"""filename\*\s*=\s*"?(?P<charset>[\w-]+)'[^']*'(?P<name>[^;"\s]+)""", re.I)


@dataclass(slots=True)
class Upload:
    """A form's file, and the fields beside it; the first of a large one's bytes stand on disk."""

    filename: str = ""
    size_bytes: int = 0
    fields: dict[str, str] = field(default_factory=dict)
    unwritten: bytearray = field(default_factory=bytearray)
    """What has come of it and is not on disk: of a small one, all."""
    path: Path | None = None
    """Where a large one is, synced once it is whole."""
    handle: int = -1

    def write_out(self, folder: Folder, synced: bool) -> None:
        """What has come, in the thread that calls it. Raises OSError."""
        if self.path is None:
            self.path, self.handle = folder.begin_upload()
        write_all(self.handle, self.unwritten)
        self.unwritten = bytearray()
        if synced:
            os.fsync(self.handle)

    async def remove(self) -> None:
        """Nothing of it stays but what was moved into its place."""
        if self.path is not None:
            await to_its_end(self.path.unlink, True)


async def receive_upload(head: Head, receive: Receive, folder: Folder, most_bytes: int, bound: str) -> Upload:
    """The form's one file, on disk where it is large; who takes it over keeps it, or removes it.

    `bound` names what `most_bytes` comes from. Raises UnsupportedMedia (415), PayloadTooLarge (413),
    InvalidRequest (400), ClientLeft, OSError; then nothing is left on disk.
    """
    boundary = _boundary(head)
    if head.content_encoding and (coding := coding_of(head.content_encoding)):
        raise UnsupportedMedia(f"The content encoding is {coding!r}; a file is uploaded without one.")
    if head.content_length is not None and head.content_length > most_bytes + FORM_OVERHEAD_BYTES:
        raise _too_large(most_bytes, bound)
    upload = Upload()
    form, received_bytes, more = _Form(boundary, upload), 0, True
    try:
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise ClientLeft
            piece: bytes = message.get("body", b"")
            received_bytes += len(piece)
            if received_bytes > most_bytes + FORM_OVERHEAD_BYTES:  # what stands around the form counts too
                raise _too_large(most_bytes, bound)
            form.feed(piece)
            if upload.size_bytes > most_bytes:
                raise _too_large(most_bytes, bound)
            more = message.get("more_body", False)
            if len(upload.unwritten) >= WRITE_FROM_BYTES or (upload.path is not None and not more):
                await to_its_end(upload.write_out, folder, not more)
        form.check_whole()
    except BaseException:
        await upload.remove()
        raise
    finally:
        if upload.path is not None:
            await to_its_end(os.close, upload.handle)  # of a large file that is gone, 0.1 s or more
    return upload


def _boundary(head: Head) -> bytes:
    content_type, options = parse_options_header(head.content_type)
    if content_type != b"multipart/form-data":
        shown = content_type[:80].decode("latin-1")
        raise UnsupportedMedia(f"The content type is {shown!r}; a file is uploaded as multipart/form-data.")
    boundary = options.get(b"boundary", b"")
    if not boundary:
        raise InvalidRequest("The content type multipart/form-data names no boundary.")
    return boundary


def _too_large(most_bytes: int, bound: str) -> PayloadTooLarge:
    return PayloadTooLarge(f"The file is larger than {most_bytes} bytes ({bound}).", param="file")


async def to_its_end(work: Callable[..., T], *given: object) -> T:
    """Run what blocks in a thread. Raises what it raises.

    Whoever is cancelled meanwhile waits all the same: what it writes to may not be closed under it, and to
    close what it reads from waits for it, in the event loop.
    """
    task = asyncio.ensure_future(asyncio.to_thread(work, *given))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait((task,))
        raise


def write_all(handle: int, data: bytearray) -> None:
    """Write on until none is left; it blocks. Raises OSError."""
    view = memoryview(data)
    while view:  # a disk with little room takes a part, and refuses the rest the next time
        view = view[os.write(handle, view) :]


class _Form:
    """What the parser finds goes into the upload: the file's bytes, and small fields beside it."""

    def __init__(self, boundary: bytes, upload: Upload) -> None:
        self._upload = upload
        self._ended = self._has_file = False
        self._header = self._value = b""
        self._disposition = b""
        self._field = ""
        self._field_value = bytearray()
        self._parts = 0
        try:
            self._parser = MultipartParser(
                boundary,
                {
                    "on_header_field": self._header_field,
                    "on_header_value": self._header_value,
                    "on_header_end": self._header_ends,
                    "on_headers_finished": self._headers_end,
                    "on_part_data": self._data,
                    "on_part_end": self._part_ends,
                    "on_end": self._form_ends,
                },
            )
        except FormParserError as error:
            raise InvalidRequest(f"The form cannot be read: {error}") from None

    def feed(self, data: bytes) -> None:
        """Read on, into the upload. Raises InvalidRequest."""
        try:
            self._parser.write(data)
        except FormParserError as error:
            raise InvalidRequest(f"The form cannot be read: {error}") from None

    def check_whole(self) -> None:
        """Whether it has ended, with a file in it. Raises InvalidRequest where not."""
        if not self._ended:
            raise InvalidRequest("The form breaks off before its end.")
        if not self._has_file:
            raise InvalidRequest("'file' is required.", param="file", code="missing_required_parameter")
        if not self._upload.size_bytes:
            raise InvalidRequest("The file is empty.", param="file", code="empty_file")

    # For the parser. It bounds a part's headers itself: 8 of 4,224 bytes each (python-multipart 0.0.34).

    def _header_field(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _header_ends(self) -> None:
        if self._header.lower() == b"content-disposition":
            self._disposition = self._value
        self._header = self._value = b""

    def _headers_end(self) -> None:
        self._parts += 1
        if self._parts > MOST_FIELDS:
            raise InvalidRequest(f"The form has more than {MOST_FIELDS} fields.")
        disposition, self._disposition = self._disposition, b""
        _, options = parse_options_header(disposition)
        self._field = options.get(b"name", b"").decode("utf-8", "replace")
        self._field_value = bytearray()
        if self._field != "file":
            return
        if self._has_file:
            raise InvalidRequest("The form has more than one 'file'.", param="file")
        name = _name_in(disposition, options.get(b"filename"))
        if name is None:
            raise InvalidRequest("'file' must be a file, with a name.", param="file")
        self._has_file = True
        self._upload.filename = _filename(name)

    def _data(self, data: bytes, start: int, end: int) -> None:
        if self._field == "file":
            self._upload.size_bytes += end - start
            self._upload.unwritten += data[start:end]
            return
        self._field_value += data[start:end]
        if len(self._field_value) > MOST_FIELD_BYTES:
            raise InvalidRequest(
                f"The field '{self._field[:80]}' is longer than {MOST_FIELD_BYTES} bytes.",
                param=self._field[:80],
            )

    def _part_ends(self) -> None:
        if self._field != "file":
            self._upload.fields[self._field[:80]] = self._field_value.decode("utf-8", "replace")

    def _form_ends(self) -> None:
        self._ended = True


def _name_in(disposition: bytes, plain: bytes | None) -> bytes | None:
    """A file's name, in UTF-8; None where it has none.

    Beside a name that is not ASCII some clients write `filename*=UTF-8''…` alone (urllib3 of old), or with a
    plain one in mail's code (.NET).
    """
    extended = _EXTENDED.search(disposition)
    if extended is None or (plain is not None and not plain.startswith(b"=?")):
        return plain
    name = unquote_to_bytes(extended["name"])
    latin = extended["charset"].lower() == b"iso-8859-1"
    return name.decode("latin-1").encode() if latin else name


def _filename(given: bytes) -> str:
    """Its last part, without what could be taken for more than a name."""
    name = given.decode("utf-8", "replace").replace("\\", "/").rpartition("/")[2]
    return "".join(filter(str.isprintable, name))[:MOST_NAME_CHARS] or "upload"
