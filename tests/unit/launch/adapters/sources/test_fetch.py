"""Adapters from folders, archives and stores: what is taken, what is refused; scratch is left empty."""

from __future__ import annotations

import hashlib
import io
import os
import random
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import fsspec  # type: ignore[import-untyped]  # it ships no types
import pytest

from gateway.errors import ConfigError
from launch.adapters.sources.archive import MAX_MEMBERS
from launch.supervisor.adapter_changes import Addition
from tests.support.source_taking import CONFIG, MAX_BYTES, WEIGHTS, files, made_id, refusal, sha256, take

__all__ = ["files", "made_id"]
ROOT = Path(__file__).parents[5]


# -- folders -----------------------------------------------------------------------------------------


def test_folder_is_taken_where_it_lies(tmp_path: Path, made_id: str) -> None:
    found = take(tmp_path, str(tmp_path / "one"))
    assert (found.id, found.path) == (made_id, tmp_path / "one")


@pytest.mark.parametrize(
    "name", ["my\u00a0adapter", "名前\u3000一", "a\u200db", "ａｄａｐｔｅｒ", 'it\'s "one"']
)
def test_folder_of_any_name_is_taken(tmp_path: Path, made_id: str, name: str) -> None:
    (tmp_path / "one").rename(tmp_path / name)
    assert take(tmp_path, str(tmp_path / name)).id == made_id
    addition = Addition.of({"task": "naming", "source": str(tmp_path / name)})
    assert addition.source == str(tmp_path / name)


def test_folder_is_held_against_its_digest(tmp_path: Path, files: dict[str, bytes], made_id: str) -> None:
    place = str(tmp_path / "one")
    assert take(tmp_path, f"{place}#sha256={sha256(files[WEIGHTS]).upper()}").id == made_id
    assert "the source asks for 000000000000" in refusal(tmp_path, f"{place}#sha256={'0' * 64}")
    assert "write #sha256= and 64 hex digits" in refusal(tmp_path, f"{place}#sha256=abc")


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("", "name a folder"),
        ("a\nb", "name a folder"),
        ("a\u2028b", "name a folder"),
        ("x" * 5000, "name a folder"),
        ("{root}/none", "no such folder or archive"),
        ("{root}/../outside", "outside adapters.roots"),
        ("{root}/link", "outside adapters.roots"),
        ("{root}/circle", "is no path"),
        ("{root}/" + "x" * 300, "File name too long"),
        ("~nobody-of-this-name/x", "is no path"),
        ("/etc", "outside adapters.roots"),
        ("file:///etc", "not allowed; allowed: a folder, an archive, hf://"),
        ("http://127.0.0.1/x", "not allowed"),
        ("s3://bucket/../x", "is no plain place"),
        ("s3://bucket/x::file:///etc", "is no plain place"),
        ("s3://", "is no plain place"),
        ("gone://bucket/x", "a store that fsspec does not know"),
        ("hf://name", "is no place on the hub"),
        ("hf://org/name/../x", "is no place on the hub"),
        ("hf://org/name@", "is no place on the hub"),
        ("{root}/one.rar", "an archive of another kind"),
        ("{root}/one.txt", "is a file, not a folder"),
        ("{root}/pipe.tar", "is a pipe"),
    ],
)
def test_source_that_will_not_do(tmp_path: Path, source: str, said: str) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (tmp_path / "outside").mkdir()
    (root / "link").symlink_to(tmp_path / "outside")
    (root / "circle").symlink_to(root / "circle")
    (root / "one.rar").touch()
    (root / "one.txt").touch()
    os.mkfifo(root / "pipe.tar")
    assert said in refusal(root, source.replace("{root}", str(root)))


def test_credentials_in_an_address_are_refused_and_not_repeated(tmp_path: Path) -> None:
    said = refusal(tmp_path, "s3://me:secret@bucket/x")
    assert "leave them in the environment" in said
    assert "secret" not in said


def test_size_of_a_folder_is_bounded(tmp_path: Path, files: dict[str, bytes]) -> None:
    assert "over adapters.max_bytes 999" in refusal(tmp_path, str(tmp_path / "one"), 999)


def test_libraries_of_remote_sources_are_left_alone_without_one() -> None:
    code = (
        "import sys, launch.adapters.sources.fetch; "
        "print([name for name in ('fsspec', 'huggingface_hub', 'httpx') if name in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


# -- archives ----------------------------------------------------------------------------------------


def tar(members: dict[str, bytes], mode: str = "w") -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode=mode) as archive:  # type: ignore[call-overload]  # any mode
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return made.getvalue()


def zipped(members: dict[str, bytes]) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return made.getvalue()


def linked(kind: bytes) -> Callable[[dict[str, bytes]], bytes]:
    def pack(files: dict[str, bytes]) -> bytes:
        made = io.BytesIO()
        with tarfile.open(fileobj=made, mode="w") as archive:
            info = tarfile.TarInfo(WEIGHTS)
            info.type, info.linkname = kind, "/etc/passwd"
            archive.addfile(info)
        return made.getvalue()

    return pack


def zip_link(files: dict[str, bytes]) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        info = zipfile.ZipInfo(WEIGHTS)
        info.external_attr = 0o120777 << 16
        archive.writestr(info, "/etc/passwd")
    return made.getvalue()


def long_header(files: dict[str, bytes]) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w:gz", format=tarfile.PAX_FORMAT) as archive:
        info = tarfile.TarInfo("a")
        info.pax_headers = {"comment": "x" * (8 << 20)}
        archive.addfile(info)
    return made.getvalue()


@pytest.mark.parametrize("top", ["", "./", "one/", "./one/"])
@pytest.mark.parametrize("suffix", [".tar", ".tar.gz", ".tgz", ".zip", ".ZIP"])
def test_archive_is_unpacked_wherever_one_top_folder_holds_it(
    tmp_path: Path, files: dict[str, bytes], made_id: str, suffix: str, top: str
) -> None:
    members = {
        f"{top}README.md": b"read me",
        **{f"{top}{name}": data for name, data in files.items()},
        f"{top}checkpoint-5/{CONFIG}": b"another",
        "__MACOSX/._adapter_config.json": b"x",
    }
    data = zipped(members) if "zip" in suffix.lower() else tar(members, "w:gz" if "gz" in suffix else "w")
    packed = tmp_path / f"one{suffix}"
    packed.write_bytes(data)
    stages: list[str] = []
    assert take(tmp_path, str(packed), stages=stages).id == made_id
    assert stages == ["unpacking"]
    assert take(tmp_path, f"{packed}#sha256={sha256(data)}").id == made_id
    assert "the archive has the digest" in refusal(tmp_path, f"{packed}#sha256={'0' * 64}")


Pack = Callable[[dict[str, bytes]], bytes]
BROKEN_ARCHIVES: dict[str, tuple[str, Pack, str]] = {
    "empty tar": (".tar", lambda _: b"", "is no whole tar archive"),
    "empty zip": (".zip", lambda _: b"", "is no whole zip archive"),
    "no gzip": (".tgz", lambda files: tar(files), "is no whole tar.gz archive"),
    "tar cut": (".tar", lambda files: tar(files)[:3000], "no whole tar archive"),
    "gzip cut": (".tgz", lambda files: tar(files, "w:gz")[:-40], "is no whole tar.gz archive"),
    "zip cut": (".zip", lambda files: zipped(files)[:-40], "is no whole zip archive"),
    "absolute": (".tar", lambda files: tar({"/etc/x": b"", **files}), "'/etc/x', a path that leads out"),
    "upwards": (".tar", lambda files: tar({"a/../../x": b"", **files}), "a path that leads out"),
    "zip upwards": (".zip", lambda files: zipped({"../x": b"", **files}), "a path that leads out"),
    "zip of a drive": (".zip", lambda files: zipped({"C:/x": b"", **files}), "a path that leads out"),
    "symbolic link": (".tar", linked(tarfile.SYMTYPE), "a link; pack the files themselves"),
    "hard link": (".tar", linked(tarfile.LNKTYPE), "a link; pack the files themselves"),
    "device": (".tar", linked(tarfile.CHRTYPE), "neither a plain file nor a folder"),
    "pipe": (".tar", linked(tarfile.FIFOTYPE), "neither a plain file nor a folder"),
    "zip link": (".zip", zip_link, "a link or a device"),
    "many members": (
        ".tar",
        lambda _: tar({f"a/{i}": b"" for i in range(MAX_MEMBERS + 1)}),
        "more than 1000",
    ),
    "many in a zip": (".zip", lambda _: zipped({f"a/{i}": b"" for i in range(MAX_MEMBERS + 1)}), "more than"),
    "bomb": (".tgz", lambda files: tar({"a/b/c": bytes(8 << 20), **files}, "w:gz"), "unpacks to more than"),
    "zip bomb": (".zip", lambda _: zipped({WEIGHTS: bytes(8 << 20)}), "unpacks to more than"),
    "configuration as a bomb": (".zip", lambda files: zipped({**files, CONFIG: bytes(2 << 20)}), "more than"),
    "long header": (".tgz", long_header, "has a header that is too long"),
    "twice": (".tar", lambda files: tar({f"./{CONFIG}": b"", **files}), "twice; pack it again"),
    "several": (
        ".tar",
        lambda files: tar({f"{top}/{name}": data for top in "ab" for name, data in files.items()}),
        "several adapters (a, b); pack one",
    ),
    "too deep": (
        ".tar",
        lambda files: tar({f"a/b/{k}": v for k, v in files.items()}),
        "at its top or in one",
    ),
    "MLX": (".zip", lambda _: zipped({"a/adapters.safetensors": b""}), "is MLX's format"),
    "pickle": (".zip", lambda _: zipped({"a/adapter_model.bin": b""}), "a pickle that could run code"),
    "nothing": (".zip", lambda _: zipped({"README.md": b""}), "holds no adapter_config.json"),
}


@pytest.mark.parametrize("kind", BROKEN_ARCHIVES)
def test_broken_archive_is_refused(kind: str, tmp_path: Path, files: dict[str, bytes]) -> None:
    suffix, pack, said = BROKEN_ARCHIVES[kind]
    packed = tmp_path / f"x{suffix}"
    packed.write_bytes(pack(files))
    message = refusal(tmp_path, str(packed), 3 << 20 if kind.startswith(("many", "conf")) else MAX_BYTES)
    assert said in message
    assert message.startswith(f"source: {packed}: ")


def test_archive_itself_is_bounded(tmp_path: Path, files: dict[str, bytes]) -> None:
    (tmp_path / "x.tar").write_bytes(tar(files))
    assert "the archive has 10240 bytes, over adapters.max_bytes 9999" in refusal(
        tmp_path, str(tmp_path / "x.tar"), 9999
    )


@pytest.mark.parametrize("suffix", [".tar", ".tgz", ".zip"])
def test_archive_with_any_bytes_changed_is_read_or_refused(
    suffix: str, tmp_path: Path, files: dict[str, bytes]
) -> None:
    chance = random.Random(5)
    good = {".tar": tar(files), ".tgz": tar(files, "w:gz"), ".zip": zipped(files)}[suffix]
    packed = tmp_path / f"x{suffix}"
    places = [*range(min(600, len(good))), *range(max(0, len(good) - 300), len(good))]
    for _ in range(150):
        data = bytearray(good)
        for _ in range(chance.randint(1, 3)):
            data[chance.choice(places)] = chance.randrange(256)
        packed.write_bytes(data)
        try:
            take(tmp_path, str(packed))
        except ConfigError as error:
            said = str(error)
            if not said.isprintable():
                raise


# -- stores ------------------------------------------------------------------------------------------


@pytest.fixture
def bucket(files: dict[str, bytes]) -> Iterator[fsspec.AbstractFileSystem]:
    store = fsspec.filesystem("memory")
    for name, data in files.items():
        store.pipe(f"/bucket/one/{name}", data)
    yield store
    store.rm("/bucket", recursive=True)


def test_store_gives_a_folder(tmp_path: Path, bucket: fsspec.AbstractFileSystem, made_id: str) -> None:
    stages: list[str] = []
    found = take(tmp_path, "memory://bucket/one/", stages=stages)
    assert found.id == made_id
    assert "came without a digest of adapter_model.safetensors; add #sha256=" in found.warnings[0]
    assert stages[0] == "asking the store"
    assert stages[-1] == "downloading adapter_model.safetensors: 100 %"


def test_digest_with_the_source_or_beside_the_file_is_held(
    tmp_path: Path, bucket: fsspec.AbstractFileSystem, files: dict[str, bytes], made_id: str
) -> None:
    digest = sha256(files[WEIGHTS])
    assert take(tmp_path, f"memory://bucket/one#sha256={digest}").warnings == ()
    bucket.pipe(f"/bucket/one/{WEIGHTS}.sha256", f"{digest}  {WEIGHTS}\n".encode())
    assert take(tmp_path, "memory://bucket/one").warnings == ()
    bucket.pipe(f"/bucket/one/{WEIGHTS}.sha256", b"0" * 64)
    assert "adapter_model.safetensors.sha256 says 000000000000" in refusal(tmp_path, "memory://bucket/one")
    bucket.pipe(f"/bucket/one/{WEIGHTS}.sha256", b"<html>")
    assert "without a digest; write 64 hex" in refusal(tmp_path, "memory://bucket/one")


def test_etag_counts_where_it_is_a_digest(
    tmp_path: Path,
    bucket: fsspec.AbstractFileSystem,
    files: dict[str, bytes],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tags = {name: hashlib.md5(data).hexdigest() for name, data in files.items()}
    plain = bucket.__class__.info

    def info(self: object, path: str) -> dict[str, object]:
        return {**plain(self, path), "ETag": f'"{tags[path.rpartition("/")[2]]}"'}

    monkeypatch.setattr(bucket.__class__, "info", info)
    assert take(tmp_path, "memory://bucket/one").warnings == ()
    tags[WEIGHTS] = "0" * 32 + "-2"  # of an upload in parts: no digest of the content
    assert take(tmp_path, "memory://bucket/one").warnings != ()
    tags[WEIGHTS] = "0" * 32
    assert "the store's ETag" in refusal(tmp_path, "memory://bucket/one")
    assert take(tmp_path, f"memory://bucket/one#sha256={sha256(files[WEIGHTS])}").warnings == ()


def test_store_gives_an_archive(
    tmp_path: Path, bucket: fsspec.AbstractFileSystem, files: dict[str, bytes], made_id: str
) -> None:
    data = tar(files, "w:gz")
    bucket.pipe("/bucket/one.tgz", data)
    assert take(tmp_path, f"memory://bucket/one.tgz#sha256={sha256(data)}").id == made_id
    assert "the archive" in refusal(tmp_path, f"memory://bucket/one.tgz#sha256={'1' * 64}")


def test_store_without_the_files(tmp_path: Path, bucket: fsspec.AbstractFileSystem) -> None:
    assert "memory://bucket/none: has no adapter_config.json there" in refusal(
        tmp_path, "memory://bucket/none"
    )
    assert "is not there" in refusal(tmp_path, "memory://bucket/none.tar")
    bucket.mv(f"/bucket/one/{WEIGHTS}", "/bucket/one/adapter_model.bin")
    assert "a pickle that could run code" in refusal(tmp_path, "memory://bucket/one")
    bucket.mv("/bucket/one/adapter_model.bin", "/bucket/one/adapters.safetensors")
    assert "is MLX's format" in refusal(tmp_path, "memory://bucket/one")


def test_store_is_asked_for_sizes_before_a_download(
    tmp_path: Path, bucket: fsspec.AbstractFileSystem
) -> None:
    assert "over adapters.max_bytes 999" in refusal(tmp_path, "memory://bucket/one", 999)


@pytest.mark.parametrize(("change", "said"), [(1, "sends more than"), (-1, "ended after")])
def test_store_that_gives_another_length(
    tmp_path: Path,
    bucket: fsspec.AbstractFileSystem,
    monkeypatch: pytest.MonkeyPatch,
    change: int,
    said: str,
) -> None:
    plain = bucket.__class__.info

    def info(self: object, path: str) -> dict[str, object]:
        found: dict[str, object] = plain(self, path)
        size = found["size"]
        assert isinstance(size, int)
        return {**found, "size": size - change}

    monkeypatch.setattr(bucket.__class__, "info", info)
    assert said in refusal(tmp_path, "memory://bucket/one")


def test_store_that_breaks_off(
    tmp_path: Path, bucket: fsspec.AbstractFileSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(self: object, path: str, mode: str) -> io.BytesIO:
        raise ConnectionResetError(104, "Connection reset by peer")

    monkeypatch.setattr(bucket.__class__, "open", broken)
    said = refusal(tmp_path, "memory://bucket/one")
    assert "memory://bucket/one: cannot be fetched: Connection reset by peer; check the network" in said


def test_package_that_is_missing_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "s3fs", None)
    assert "pip install 'lora-gateway[s3]'" in refusal(tmp_path, "s3://bucket/one")
