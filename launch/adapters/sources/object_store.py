"""`s3://bucket/folder`, and other stores of fsspec's where they are allowed: a folder or an archive there."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from launch.adapters.folder import MLX, MLX_MEND
from launch.adapters.sources.transfer import (
    BLOCK_BYTES,
    OnStage,
    check_bound,
    check_digest,
    describe,
    need_room,
    network_errors,
    receive,
)
from launch.machine.files import CONFIG, FILES, MAX_JSON_BYTES, PICKLES, WEIGHTS, Unfit, shorten

EXTRAS = {"s3": "pip install 'lora-gateway[s3]'"}
OPTIONS: dict[str, dict[str, Any]] = {"s3": {"config_kwargs": {"connect_timeout": 10, "read_timeout": 30}}}
PLAIN_MD5 = re.compile(r'"?([0-9a-f]{32})"?')
"""An ETag that is the content's digest; one of an upload in parts has a dash."""
SHA256 = re.compile(r"\s*\\?([0-9a-fA-F]{64})(?:\s|\Z)")
MAX_SIDECAR_BYTES = 4096


class ObjectStore(Protocol):
    """One of fsspec's file systems, as far as it is used."""

    def info(self, path: str, /) -> dict[str, object]: ...

    def exists(self, path: str, /) -> bool: ...

    def open(self, path: str, mode: str, /) -> BinaryIO: ...


def check_place(rest: str) -> str:
    """What follows `s3://`, without a slash at its end. Raises Unfit."""
    place = rest.rstrip("/")
    if "@" in place.split("/")[0]:
        raise Unfit("holds credentials; leave them in the environment, where the store's library finds them")
    if (  # `::` chains another of fsspec's file systems, such as this machine's
        not place
        or "::" in place
        or "?" in place
        or any(part in ("", ".", "..") for part in place.split("/"))
    ):
        raise Unfit("is no plain place in a store; write s3://bucket/folder")
    return place


def fetch_folder(
    scheme: str, place: str, into: Path, max_bytes: int, on_stage: OnStage, *, vouched: bool
) -> tuple[str, ...]:
    """Both files into the folder; warnings. `vouched`: the caller knows the digest. Raises Unfit."""
    store = _store(scheme)
    try:
        on_stage("asking the store")
        infos = {name: _info(store, place, name) for name in FILES}
        sizes = {name: _size(name, info) for name, info in infos.items()}
        check_bound(CONFIG, sizes[CONFIG], MAX_JSON_BYTES)
        check_bound("the adapter", sum(sizes.values()), max_bytes)
        need_room(into, sum(sizes.values()))
        known = [
            _download(store, f"{place}/{name}", infos[name], into / name, on_stage, vouched=vouched)
            for name in FILES
        ]
    except network_errors() as error:
        raise Unfit(_explain(scheme, error)) from error
    return () if vouched or known[FILES.index(WEIGHTS)] else (_unvouched(WEIGHTS),)


def fetch_file(
    scheme: str, place: str, target: Path, max_bytes: int, on_stage: OnStage, *, vouched: bool
) -> tuple[str, ...]:
    """An archive into a file; warnings. Raises Unfit."""
    store = _store(scheme)
    try:
        on_stage("asking the store")
        info = store.info(place)
        check_bound("the archive", _size("the archive", info), max_bytes)
        need_room(target.parent, _size("the archive", info))
        known = _download(store, place, info, target, on_stage, vouched=vouched)
    except network_errors() as error:
        raise Unfit(_explain(scheme, error)) from error
    return () if vouched or known else (_unvouched("the archive"),)


def _unvouched(what: str) -> str:
    return f"came without a digest of {what}; add #sha256=<digest> to the source, or a .sha256 file beside it"


def _store(scheme: str) -> ObjectStore:
    import fsspec  # type: ignore[import-untyped]  # it ships no types

    try:
        # fsspec keeps a store and its listings while the program lives: credentials and files would be old.
        found: ObjectStore = fsspec.filesystem(
            scheme, skip_instance_cache=True, use_listings_cache=False, **OPTIONS.get(scheme, {})
        )
        return found
    except ImportError as error:
        mend = EXTRAS.get(scheme) or shorten(error)
        raise Unfit(f"needs a package that is not installed: {mend}") from error
    except ValueError as error:
        raise Unfit(f"is in a store that fsspec does not know, {scheme}; fetch it yourself") from error


def _info(store: ObjectStore, place: str, name: str) -> Mapping[str, object]:
    try:
        found: Mapping[str, object] = store.info(f"{place}/{name}")
    except FileNotFoundError as error:
        if name == WEIGHTS:
            pickle = next((other for other in PICKLES if store.exists(f"{place}/{other}")), None)
            if pickle:
                raise Unfit(
                    f"has {pickle}, a pickle that could run code; save it again as safetensors"
                ) from error
            if store.exists(f"{place}/{MLX}"):
                raise Unfit(MLX_MEND) from error
        raise Unfit(f"has no {name} there; write the folder of a peft adapter") from error
    return found


def _size(what: str, info: Mapping[str, object]) -> int:
    size = info.get("size")
    if info.get("type") != "file" or not isinstance(size, int) or size < 0:
        raise Unfit(f"has no plain file with a known size as {what}; write the folder of a peft adapter")
    return size


def _download(
    store: ObjectStore,
    path: str,
    info: Mapping[str, object],
    target: Path,
    on_stage: OnStage,
    *,
    vouched: bool,
) -> bool:
    """Whether a digest was known, and held. Raises Unfit and the store's errors."""
    sha256, md5 = hashlib.sha256(), hashlib.md5(usedforsecurity=False)
    with store.open(path, "rb") as file:
        blocks = iter(lambda: file.read(BLOCK_BYTES), b"")
        receive(blocks, target, _size(target.name, info), (sha256, md5), on_stage)
    beside = _digest_beside(store, path)
    if beside:
        check_digest(target.name, sha256.hexdigest(), beside, f"{path.rpartition('/')[2]}.sha256 says")
        return True
    tag = PLAIN_MD5.fullmatch(str(info.get("ETag") or info.get("etag") or ""))
    # In a bucket with a key of its own the ETag looks the same and is no digest; #sha256= is the way round.
    if tag and not vouched:
        where = "the store's ETag (no digest in a bucket with a key of its own: then give #sha256=) says"
        check_digest(target.name, md5.hexdigest(), tag[1], where)
    return tag is not None


def _digest_beside(store: ObjectStore, path: str) -> str | None:
    try:
        with store.open(f"{path}.sha256", "rb") as file:
            text = file.read(MAX_SIDECAR_BYTES).decode("ascii", "replace")
    except (FileNotFoundError, PermissionError):  # S3 says either, by what the reader may list
        return None
    match = SHA256.match(text)
    if match is None:
        raise Unfit(f"has {path.rpartition('/')[2]}.sha256 without a digest; write 64 hex digits in it")
    return match[1].lower()


def _explain(scheme: str, error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return "is not there; correct the place"
    # botocore's by its name: it need not be installed.
    if isinstance(error, PermissionError) or type(error).__name__ == "NoCredentialsError":
        return f"may not be read; set the credentials for {scheme} in the environment"
    return f"cannot be fetched: {describe(error)}; check the network, the place and the credentials"
