"""An adapter out of a .tar, .tar.gz or .zip that somebody else packed.

Nothing is unpacked but the two files, under names of ours, and every byte is counted as it comes out: what an
archive says of itself is not believed.
"""

from __future__ import annotations

import gzip
import os
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, BinaryIO, Protocol, cast

from launch.adapters.folder import MLX, MLX_MEND
from launch.machine.files import CONFIG, FILES, MAX_JSON_BYTES, PICKLES, WEIGHTS, Unfit, shorten

SUFFIXES = {".tar": "tar", ".tar.gz": "tar.gz", ".tgz": "tar.gz", ".zip": "zip"}
OTHER_SUFFIXES = (".tar.bz2", ".tbz2", ".tar.xz", ".txz", ".tar.zst", ".7z", ".rar", ".gz", ".bz2", ".xz")
MAX_MEMBERS = 1000
HEADER_BYTES = 1 << 20
"""Between two members of a tar: names, rights, padding. Also a zip's list of members."""
BLOCK_BYTES = 1 << 20
ZIP_END = struct.Struct("<4s4H2LH")
BROKEN = (tarfile.TarError, zipfile.BadZipFile, zlib.error, EOFError, ValueError, OverflowError, IndexError)
"""What the two readers raise on archives that are none."""


def kind_of(name: str) -> str | None:
    """The kind of archive by its name's end; None for a folder's. Raises Unfit for one that is not read."""
    lower = name.lower()
    for suffix, kind in SUFFIXES.items():
        if lower.endswith(suffix):
            return kind
    if lower.endswith(OTHER_SUFFIXES):
        raise Unfit("is an archive of another kind; pack it as .tar, .tar.gz or .zip")
    return None


def unpack(file: BinaryIO, kind: str, into: Path, max_bytes: int) -> Path:
    """The folder with the two files, below `into`. Raises Unfit, OSError."""
    picked = _Picked(into)
    with _whole(kind):
        if kind == "zip":
            _unpack_zip(file, picked, max_bytes)
        elif kind == "tar":
            _unpack_tar(file, picked, max_bytes)
        else:
            with gzip.GzipFile(fileobj=file, mode="rb") as plain:
                _unpack_tar(plain, picked, max_bytes)
    return picked.folder()


class _Picked:
    """What was found so far; only members at the top or in a top folder count."""

    def __init__(self, into: Path) -> None:
        self._into = into
        self._found: dict[str, set[str]] = {}
        self._pickle = ""
        self._mlx = False
        self._members = 0

    def place(self, name: str, is_folder: bool) -> Path | None:
        """Where this member is to be written; None where it is not wanted. Raises Unfit."""
        self._members += 1
        if self._members > MAX_MEMBERS:
            raise Unfit(f"holds more than {MAX_MEMBERS} members; pack the adapter's folder alone")
        parts = PurePosixPath(name).parts
        if name.startswith(("/", "\\")) or ".." in parts or "\0" in name or name[1:2] == ":":  # C:
            raise Unfit(
                f"holds {shorten(name)!r}, a path that leads out of it; pack the adapter's folder alone"
            )
        if is_folder or not parts or len(parts) > 2:
            return None
        top, file = ("", parts[0]) if len(parts) == 1 else parts
        if file in PICKLES:
            self._pickle = name
        self._mlx = self._mlx or file == MLX
        if file not in FILES:
            return None
        files = self._found.setdefault(top, set())
        if file in files:
            raise Unfit(f"holds {shorten(name)!r} twice; pack it again")
        files.add(file)
        folder = self._into / f"top-{list(self._found).index(top)}"
        folder.mkdir(exist_ok=True)
        return folder / file

    def folder(self) -> Path:
        """Raises Unfit where there is none, or no one."""
        whole = [top for top, files in self._found.items() if files == set(FILES)]
        if "" in whole:
            whole = [""]
        if len(whole) > 1:
            names = shorten(", ".join(sorted(whole)))
            raise Unfit(f"holds several adapters ({names}); pack one of them")
        if whole:
            return self._into / f"top-{list(self._found).index(whole[0])}"
        if self._pickle:
            raise Unfit(
                f"holds {shorten(self._pickle)}, a pickle that could run code; save it again as safetensors"
            )
        if self._mlx:
            raise Unfit(MLX_MEND)
        raise Unfit(
            f"holds no {CONFIG} and {WEIGHTS} at its top or in one folder there; pack the folder of both"
        )


class _Budget:
    """The bytes that may still come out."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._spent = 0

    def spend(self, count: int) -> None:
        """So many bytes more have come out. Raises Unfit where that is too many in all."""
        self._spent += count
        if self._spent > self._max_bytes:
            raise Unfit(
                f"unpacks to more than adapters.max_bytes {self._max_bytes}; raise that, "
                "or pack the adapter's two files alone"
            )


class _Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...


class _Metered:
    """The stream under a tar's reader, which would keep a header of any length in memory."""

    def __init__(self, source: _Readable, max_bytes: int) -> None:
        self._source = source
        # Beside its bytes each member has a header and padding, of a block each.
        self._budget = _Budget(max_bytes + MAX_MEMBERS * 2 * tarfile.BLOCKSIZE + HEADER_BYTES)
        self._left = HEADER_BYTES

    def allow(self, count: int) -> None:
        """Before the next member is looked for: what is left of this one, and a header."""
        self._left = count + HEADER_BYTES

    def read(self, size: int = -1, /) -> bytes:
        block = self._source.read(size if 0 <= size <= BLOCK_BYTES else BLOCK_BYTES)
        self._budget.spend(len(block))
        self._left -= len(block)
        if self._left < 0:
            raise Unfit("has a header that is too long; pack it again with plain tar")
        return block


def _unpack_tar(file: _Readable, picked: _Picked, max_bytes: int) -> None:
    metered = _Metered(file, max_bytes)
    with tarfile.open(fileobj=cast(IO[bytes], metered), mode="r|") as archive:  # a stream is only read from
        while (member := archive.next()) is not None:
            metered.allow(max(member.size, 0))
            _check_kind(member)
            target = picked.place(member.name, member.isdir())
            if target is None:
                continue
            content = archive.extractfile(member)
            if content is not None:
                _write(content, target, member.size)
                metered.allow(0)
    # On to the end, where gzip has its digest: tar's reader stops at a block of zeros before it.
    metered.allow(max_bytes)
    while metered.read():
        pass


def _check_kind(member: tarfile.TarInfo) -> None:
    name = shorten(member.name)
    if member.issym() or member.islnk():
        raise Unfit(f"holds {name!r}, a link; pack the files themselves (tar --dereference)")
    if member.issparse() or not (member.isreg() or member.isdir()) or member.size < 0:
        raise Unfit(f"holds {name!r}, neither a plain file nor a folder; pack the adapter's folder alone")


def _unpack_zip(file: BinaryIO, picked: _Picked, max_bytes: int) -> None:
    _check_list(file)
    budget = _Budget(max_bytes)
    with zipfile.ZipFile(file) as archive:
        for member in archive.infolist():
            name, kind = shorten(member.filename), stat.S_IFMT(member.external_attr >> 16)
            if kind not in (0, stat.S_IFREG, stat.S_IFDIR):  # 0: packed on a system without modes
                raise Unfit(f"holds {name!r}, a link or a device; pack the files themselves")
            target = picked.place(member.filename, member.is_dir())
            if target is None:
                continue
            if member.flag_bits & 1:
                raise Unfit(f"holds {name!r} under a password; pack it without")
            if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise Unfit(f"holds {name!r} in a rare compression; pack it with deflate")
            budget.spend(member.file_size)
            with archive.open(member) as content:
                _write(content, target, member.file_size)


def _check_list(file: BinaryIO) -> None:
    """The reader takes a zip's list of members into memory whole, so its length is looked at first."""
    # The list's end, the longest comment behind it, and zip64's locator before it. Of several ends the last
    # counts, as for zipfile: a reading of our own would let a long list by.
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - ZIP_END.size - (1 << 16) - 20))
    tail = file.read()
    place = tail.rfind(b"PK\5\6")
    if place < 0 or place + ZIP_END.size > len(tail):
        raise Unfit("is no whole zip archive; copy or pack it again")
    _, _, _, _, members, list_bytes, _, _ = ZIP_END.unpack_from(tail, place)
    if tail[max(0, place - 20) : place].startswith(b"PK\6\7"):
        raise Unfit("is a zip64 archive; pack it as .tar")
    if members > MAX_MEMBERS or list_bytes > HEADER_BYTES:
        raise Unfit(f"holds more than {MAX_MEMBERS} members; pack the adapter's folder alone")
    file.seek(0)


def _write(content: IO[bytes], target: Path, size: int) -> None:
    """Raises Unfit where the member is not as long as the archive says."""
    bound = min(size, MAX_JSON_BYTES) if target.name == CONFIG else size
    written = 0
    with target.open("xb") as file:
        while block := content.read(BLOCK_BYTES):
            written += len(block)
            if written > bound:
                raise Unfit(f"holds a {target.name} of more than {bound} bytes; pack it again")
            file.write(block)
    if written < size:
        raise Unfit(f"holds a {target.name} that ends early; copy or pack it again")


@contextmanager
def _whole(kind: str) -> Iterator[None]:
    try:
        yield
    except Unfit:
        raise
    except (*BROKEN, gzip.BadGzipFile, NotImplementedError, RuntimeError, struct.error) as error:
        raise Unfit(f"is no whole {kind} archive; copy or pack it again") from error
