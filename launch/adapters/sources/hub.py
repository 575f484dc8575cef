"""`hf://org/name[@revision][/sub/folder]`: an adapter from the Hugging Face hub, or a mirror (HF_ENDPOINT).

The revision is settled once, the sizes and digests are known before the first byte, and both files are of
that revision. The token comes from the environment (HF_TOKEN) alone.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

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

if TYPE_CHECKING:
    from huggingface_hub.hf_api import RepoSibling

TIMEOUT_S = 30.0
"""Without a byte."""
TOKENS = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")
PLACE = re.compile(
    r"(?P<repo>[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95})"
    r"(?:@(?P<revision>refs/(?:pr|convert)/[\w.-]{1,64}|[\w.-]{1,128}))?"
    r"(?P<folder>(?:/[^/]+)*)/?",
    re.ASCII,
)


@dataclass(frozen=True)
class HubPlace:
    """A folder of a repository on the hub, at a revision; None for the hub's default."""

    repo: str
    revision: str | None
    folder: str  # "" for the top, else "sub/folder/"


def read_place(rest: str) -> HubPlace:
    """What follows `hf://`. Raises Unfit."""
    match = PLACE.fullmatch(rest)
    parts = [part for part in match["folder"].split("/") if part] if match else []
    if match is None or any(part in (".", "..") for part in parts):
        raise Unfit("is no place on the hub; write hf://org/name, hf://org/name@revision or …/sub/folder")
    return HubPlace(match["repo"], match["revision"], "".join(f"{part}/" for part in parts))


def fetch_hub(place: HubPlace, into: Path, max_bytes: int, on_stage: OnStage) -> None:
    """Both files into the folder. Raises Unfit."""
    from huggingface_hub import HfApi

    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)  # one line of ours says what failed
    api = HfApi(endpoint=_endpoint(), token=_token())
    on_stage("asking the hub")
    try:
        info = api.model_info(
            place.repo, revision=place.revision, files_metadata=True, timeout=TIMEOUT_S, token=_token()
        )
        found = {file.rfilename: file for file in info.siblings or ()}
        files = _wanted(place, found)
        sizes = {name: _size(name, file) for name, file in files.items()}
        check_bound(CONFIG, sizes[CONFIG], MAX_JSON_BYTES)
        check_bound("the adapter", sum(sizes.values()), max_bytes)
        need_room(into, sum(sizes.values()))
        for name, file in files.items():
            _download(place, info.sha, file, into / name, on_stage)
    except network_errors() as error:
        raise Unfit(_explain(error)) from error


def _endpoint() -> str | None:
    return os.environ.get("HF_ENDPOINT") or None


def _token() -> str | bool:
    """False keeps the library from the token that somebody may have stored on this machine."""
    return next((token for name in TOKENS if (token := os.environ.get(name))), False)


def _wanted(place: HubPlace, found: Mapping[str, RepoSibling]) -> dict[str, RepoSibling]:
    missing = [name for name in FILES if place.folder + name not in found]
    if not missing:
        return {name: found[place.folder + name] for name in FILES}
    where = place.folder or "at its top"
    if WEIGHTS in missing:
        pickle = next((name for name in PICKLES if place.folder + name in found), None)
        if pickle:
            raise Unfit(f"has {pickle}, a pickle that could run code; ask for safetensors")
        if place.folder + MLX in found:
            raise Unfit(MLX_MEND)
    others = sorted({name.rpartition("/")[0] for name in found if name.endswith(f"/{CONFIG}")})
    hint = f"; there is one in {shorten(', '.join(others))}" if others else "; is it a peft adapter?"
    raise Unfit(f"has no {missing[0]} {where}{hint}")


def _size(name: str, file: RepoSibling) -> int:
    size = file.lfs.size if file.lfs else file.size
    if not isinstance(size, int) or size < 0:
        raise Unfit(f"does not tell the size of {name}; fetch it yourself and give the folder")
    return size


def _download(
    place: HubPlace, commit: str | None, file: RepoSibling, target: Path, on_stage: OnStage
) -> None:
    from huggingface_hub import get_session, hf_hub_url, hf_raise_for_status
    from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]  # exported lazily

    size = _size(target.name, file)
    url = hf_hub_url(place.repo, file.rfilename, revision=commit, endpoint=_endpoint())
    # Not packed on its way: httpx would unpack a piece before it can be counted.
    headers = {**build_hf_headers(token=_token()), "Accept-Encoding": "identity"}
    sha256, sha1 = hashlib.sha256(), hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False)
    with get_session().stream("GET", url, headers=headers, timeout=TIMEOUT_S) as response:
        hf_raise_for_status(response)
        receive(response.iter_bytes(BLOCK_BYTES), target, size, (sha256, sha1), on_stage)
    if file.lfs:
        check_digest(target.name, sha256.hexdigest(), file.lfs.sha256, "the hub says")
    elif file.blob_id:  # small files lie in git itself, under git's own digest
        check_digest(target.name, sha1.hexdigest(), file.blob_id, "the hub says")
    else:
        raise Unfit(f"does not tell a digest of {target.name}; fetch it yourself and give the folder")


def _explain(error: Exception) -> str:
    from huggingface_hub import errors

    known: tuple[tuple[type[Exception], str], ...] = (
        (
            errors.OfflineModeIsEnabled,
            "cannot be fetched while HF_HUB_OFFLINE is set; unset it, or give a folder",
        ),
        (
            errors.GatedRepoError,
            "is gated: accept its terms on the hub, and set HF_TOKEN to a token that may read it",
        ),
        (errors.RevisionNotFoundError, "has no such revision; correct what follows the @"),
        (errors.RepositoryNotFoundError, "is not on the hub, or private; correct the name, or set HF_TOKEN"),
        (errors.DisabledRepoError, "is disabled on the hub; use another"),
        (errors.RemoteEntryNotFoundError, "lost a file while it was fetched; try again"),
    )
    for kind, text in known:
        if isinstance(error, kind):
            return text
    if isinstance(error, errors.HfHubHTTPError):
        status = error.response.status_code
        if status in (401, 403):
            return f"is refused by the hub ({status}); set HF_TOKEN to a token that may read it"
        return f"cannot be fetched: the hub answers {status}; try again later"
    return f"cannot be fetched: {describe(error)}; check the network and HF_ENDPOINT, or give a folder"
