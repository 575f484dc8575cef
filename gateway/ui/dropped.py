"""An adapter's archive that is dropped onto the page, on its way to disk; the control plane checks it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import secrets
import shutil
import time
import urllib.parse
from collections import Counter
from pathlib import Path

import msgspec
from starlette.types import Receive

from gateway.config.snapshot import UPLOADS
from gateway.endpoints.asgi import ClientLeft, Head
from gateway.endpoints.batches.uploads import to_its_end, write_all
from gateway.errors import NOT_JSON, InvalidRequest, PayloadTooLarge, TooManyRequests, Unavailable

SUFFIXES = (".tar", ".tar.gz", ".tgz", ".zip")
WISHES = b"x-adapter"
"""The header that says what is to become of the archive: JSON, percent-encoded."""
MOST_AT_ONCE = 4
MOST_OF_ONE = MOST_AT_ONCE // 2
"""Of one tenant, or of a key without one, so that none keeps the others out."""
WRITE_FROM_BYTES = 1 << 20
STRAY_AFTER_S = 3600.0
SPARE_BYTES = 256 << 20
_PLAIN = re.compile(r"[^A-Za-z0-9._-]+")


class Wishes(msgspec.Struct, forbid_unknown_fields=True):
    """For which task, and how it is to begin."""

    file: str
    task: str
    canary: float | None = None
    shadow: float | None = None


def wishes_of(headers: list[tuple[bytes, bytes]]) -> Wishes:
    """What the header of a dropped archive asks for. Raises InvalidRequest (400) where it cannot be read."""
    value = dict(headers).get(WISHES, b"")
    try:
        wishes = msgspec.json.decode(urllib.parse.unquote_to_bytes(value), type=Wishes)
    except NOT_JSON as error:
        raise InvalidRequest(f"The header '{WISHES.decode()}' cannot be read: {error}") from None
    if not wishes.file.lower().endswith(SUFFIXES):
        raise InvalidRequest(
            f"{wishes.file[:80]!r} is no archive; drop one of {', '.join(SUFFIXES)}.", param="file"
        )
    return wishes


class Dropped:
    """The archives of one gateway, in a folder that the control plane takes adapters from."""

    def __init__(self, state_dir: Path, most_bytes: int) -> None:
        self.folder = state_dir / UPLOADS
        self._most_bytes = most_bytes
        self._under_way: Counter[str] = Counter()

    async def receive(self, name: str, head: Head, receive: Receive, owner: str = "") -> Path:
        """The archive's file, whole; whoever called removes it. `owner`: `Principal.payer`.

        Raises InvalidRequest (400), PayloadTooLarge (413), TooManyRequests (429), Unavailable (503),
        ClientLeft; then nothing is left.
        """
        if self._under_way.total() >= MOST_AT_ONCE or self._under_way[owner] >= MOST_OF_ONE:
            raise TooManyRequests("As many archives as may are on their way in already.", retry_after_s=5)
        # The disk is asked for room by that length, before anything of it is there.
        if head.content_length is None or head.content_encoding:
            raise InvalidRequest("An archive is sent as it is, with its Content-Length.")
        if head.content_length > self._most_bytes:
            raise PayloadTooLarge(
                f"The archive has {head.content_length} bytes; adapters.max_bytes allows {self._most_bytes}."
            )
        self._under_way[owner] += 1
        try:
            return await self._received(name, head.content_length, receive)
        except OSError as error:
            raise Unavailable(f"The archive cannot be kept: {error.strerror}; look at the disk.") from error
        finally:
            self._under_way[owner] -= 1

    async def _received(self, name: str, length: int, receive: Receive) -> Path:
        path, handle = await asyncio.to_thread(self._begin, name, length)
        whole = False
        try:
            pieces, held, received = bytearray(), 0, 0
            more_body = True
            while more_body:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise ClientLeft
                pieces += message.get("body", b"")
                more_body = message.get("more_body", False)
                received += len(pieces) - held
                held = len(pieces)
                if received > length:
                    raise InvalidRequest("The archive is longer than its Content-Length.")
                if held >= WRITE_FROM_BYTES or not more_body:
                    await to_its_end(write_all, handle, pieces)
                    pieces, held = bytearray(), 0
            whole = True
            return path
        finally:
            if not whole:
                # Only the name: the blocks go when the last descriptor does, below.
                path.unlink(missing_ok=True)
            await to_its_end(os.close, handle)  # of a large file that is gone, a second or more

    def _begin(self, name: str, length: int) -> tuple[Path, int]:
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for file in self.folder.iterdir():  # what a kill has left behind
            with contextlib.suppress(FileNotFoundError):  # or what another worker is done with just now
                if time.time() - file.stat().st_mtime > STRAY_AFTER_S:
                    file.unlink()
        if shutil.disk_usage(self.folder).free < length + SPARE_BYTES:
            raise Unavailable("There is no room on the disk for this archive.", code="disk_full")
        plain = _PLAIN.sub("-", name)[-80:].lstrip("-.")
        path = self.folder / f"{secrets.token_hex(12)}-{plain}"
        return path, os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
