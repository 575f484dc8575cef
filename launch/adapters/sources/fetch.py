"""Where an adapter may come from: a folder, an archive of one, the hub, or a store.

What is not a folder here is brought into scratch whole and checked against its digest before anybody looks
into it; scratch is empty again when the block ends, however it ends.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import tempfile
import unicodedata
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from gateway.errors import ConfigError
from launch.adapters.sources import SOURCES
from launch.adapters.sources.archive import BLOCK_BYTES, kind_of, unpack
from launch.adapters.sources.hub import fetch_hub, read_place
from launch.adapters.sources.object_store import check_place, fetch_file, fetch_folder
from launch.adapters.sources.transfer import (
    SCRATCH,
    check_bound,
    check_digest,
    describe,
    need_room,
    receive,
)
from launch.machine.files import Origin, Unfit, lies_within, open_regular, shorten

MAX_SOURCE_CHARS = 4096
STORES = ("s3",)
"""What fsspec may be asked for; it knows places on this machine too, which roots guard."""
URL = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://(?P<rest>.*)")
CREDENTIALS = re.compile(r"(?<=[a-z0-9])://[^/@]*@", re.IGNORECASE)
DIGEST = re.compile(r"(?P<place>.*)#sha256=(?P<digest>[0-9A-Fa-f]{64})")


@dataclass(frozen=True)
class Staged:
    """A local folder with the adapter, until the block ends."""

    path: Path
    source: str
    origin: Origin
    """For the checks."""
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Asked:
    scheme: str  # empty for a path
    place: str
    digest: str | None
    """Of adapter_model.safetensors, or of the archive."""

    @property
    def shown(self) -> str:
        return _shown(f"{self.scheme}://{self.place}" if self.scheme else self.place)


@contextmanager
def fetch(
    source: str,
    roots: Sequence[Path],
    scratch: Path,
    max_bytes: int,
    on_stage: Callable[[str], None] = lambda _: None,
    stores: Collection[str] = STORES,
) -> Iterator[Staged]:
    """Raises ConfigError, which names the source and what to do."""
    with _named(_shown(source)):
        asked = _read(source)
    with contextlib.ExitStack() as held:
        with _named(asked.shown):
            fetching = _Fetching(
                asked, roots, max_bytes, on_stage, lambda: held.enter_context(_scratch(scratch))
            )
            staged = fetching.staged(stores)
        yield staged  # beyond `_named`: what goes wrong in the caller's block is not the source's


def _shown(source: str) -> str:
    """For errors: a password that somebody wrote into an address is not repeated."""
    return CREDENTIALS.sub("://…@", shorten(source, MAX_SOURCE_CHARS))


def _read(source: str) -> _Asked:
    if not source or len(source) > MAX_SOURCE_CHARS or any(map(_is_control, source)):
        raise Unfit(f"is no source; name {SOURCES}")
    match = DIGEST.fullmatch(source)
    if match is None and "#sha256" in source:
        raise Unfit("has a #sha256 without a digest; write #sha256= and 64 hex digits at the end")
    place, digest = (match["place"], match["digest"].lower()) if match else (source, None)
    url = URL.fullmatch(place)
    return _Asked(url["scheme"].lower(), url["rest"], digest) if url else _Asked("", place, digest)


def _is_control(letter: str) -> bool:
    """Spaces and joiners of other scripts stand in folders' names; these never do on purpose."""
    return unicodedata.category(letter) in ("Cc", "Cs", "Zl", "Zp")


@dataclass(frozen=True)
class _Fetching:
    """One source on its way. All raise Unfit, OSError."""

    asked: _Asked
    roots: Sequence[Path]
    max_bytes: int
    on_stage: Callable[[str], None]
    room: Callable[[], Path]
    """A folder in scratch, made when it is needed."""

    def staged(self, stores: Collection[str]) -> Staged:
        ways = {"": self._here, "hf": self._from_hub, **dict.fromkeys(sorted(stores), self._from_store)}
        way = ways.get(self.asked.scheme)
        if way is None:
            known = ", ".join(f"{scheme}://" for scheme in ways if scheme)
            raise Unfit(f"is a kind of source that is not allowed; allowed: a folder, an archive, {known}")
        return way()

    def _here(self) -> Staged:
        asked, path = self.asked, _inside(self.asked.place, self.roots)
        kind = None if path.is_dir() else kind_of(path.name)
        if kind is None:
            origin = Origin(asked.shown, tuple(self.roots), self.max_bytes, asked.digest)
            return Staged(path, asked.place, origin)
        packed = _copy_archive(path, self.roots, self.room() / "archive", self.max_bytes)
        return self._unpacked(kind, packed)

    def _from_hub(self) -> Staged:
        place, into = read_place(self.asked.place), self.room()
        fetch_hub(place, into, self.max_bytes, self.on_stage)
        return self._downloaded(into)

    def _from_store(self) -> Staged:
        scheme, place = self.asked.scheme, check_place(self.asked.place)
        kind, into = kind_of(place), self.room()
        target, bring = (into, fetch_folder) if kind is None else (into / "archive", fetch_file)
        warnings = bring(
            scheme, place, target, self.max_bytes, self.on_stage, vouched=self.asked.digest is not None
        )
        return self._downloaded(into, warnings) if kind is None else self._unpacked(kind, target, warnings)

    def _downloaded(self, folder: Path, warnings: tuple[str, ...] = ()) -> Staged:
        shown = self.asked.shown
        return Staged(folder, shown, Origin(shown, None, self.max_bytes, self.asked.digest), warnings)

    def _unpacked(self, kind: str, packed: Path, warnings: tuple[str, ...] = ()) -> Staged:
        wanted, shown = self.asked.digest, self.asked.shown
        with packed.open("rb") as file:
            if wanted:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
                check_digest("the archive", digest, wanted, "the source asks for")
                file.seek(0)
            self.on_stage("unpacking")
            folder = unpack(file, kind, packed.parent, self.max_bytes)
        packed.unlink()  # the adapter's copy needs the room
        # A digest was the archive's, and is settled.
        return Staged(folder, shown, Origin(shown, None, self.max_bytes), warnings)


def place_of(source: str) -> str:
    """What a source means, without its digest: a URL as it is asked for, of a path what is behind its links.

    Raises ConfigError.
    """
    with _named(_shown(source)):
        asked = _read(source)
        return f"{asked.scheme}://{asked.place}" if asked.scheme else str(_real(asked.place))


def _real(place: str) -> Path:
    """Raises Unfit, OSError."""
    try:
        return Path(place).expanduser().resolve()
    except RuntimeError as error:  # a circle of links, or a home that is nobody's
        raise Unfit("is no path; write the path of a peft adapter") from error


def _inside(place: str, roots: Sequence[Path]) -> Path:
    """The real path. Raises Unfit, OSError."""
    real = _real(place)
    if not lies_within(real, roots):
        raise Unfit("is outside adapters.roots; add its folder there")
    if not real.exists():
        raise Unfit("no such folder or archive; write the path of a peft adapter")
    return real


def _copy_archive(path: Path, roots: Sequence[Path], target: Path, max_bytes: int) -> Path:
    """Of the caller's own, so that nobody changes it between its digest and its unpacking."""
    with open_regular(path, roots) as file:
        size = os.fstat(file.fileno()).st_size
        check_bound("the archive", size, max_bytes)
        need_room(target.parent, size)
        receive(iter(lambda: file.read(BLOCK_BYTES), b""), target, size, (), lambda _: None)
    return target


@contextmanager
def _scratch(folder: Path) -> Iterator[Path]:
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    # What cannot be removed now the next start sweeps away.
    with tempfile.TemporaryDirectory(prefix=SCRATCH, dir=folder, ignore_cleanup_errors=True) as made:
        yield Path(made)


@contextmanager
def _named(shown: str) -> Iterator[None]:
    try:
        yield
    except Unfit as error:
        raise ConfigError("source", shown, str(error)) from error
    except OSError as error:
        raise ConfigError(
            "source", shown, f"cannot be read: {describe(error)}; look at rights and disk"
        ) from error
