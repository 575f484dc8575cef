"""Archives that somebody else packed: the two files out of them, and nothing else, nor anything more."""

from __future__ import annotations

import gzip
import io
import random
import tarfile
import zipfile
from pathlib import Path

import pytest

from launch.adapters.sources import archive
from launch.adapters.sources.archive import kind_of, unpack
from launch.machine.files import CONFIG, WEIGHTS, Unfit

GOOD = {f"naming/{CONFIG}": b"{}", f"naming/{WEIGHTS}": b"weights", "naming/README.md": b"x"}


def tar(members: dict[str, bytes], mode: str = "w") -> io.BytesIO:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode=mode) as into:  # type: ignore[call-overload]  # any mode
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            into.addfile(member, io.BytesIO(content))
    made.seek(0)
    return made


def zipped(members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> io.BytesIO:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", method) as into:
        for name, content in members.items():
            into.writestr(name, content)
    made.seek(0)
    return made


def packed(kind: str, members: dict[str, bytes]) -> io.BytesIO:
    if kind == "zip":
        return zipped(members)
    return tar(members, "w:gz" if kind == "tar.gz" else "w")


@pytest.mark.parametrize(
    ("name", "kind"),
    [("a.tar", "tar"), ("a.TGZ", "tar.gz"), ("a.tar.gz", "tar.gz"), ("a.zip", "zip"), ("folder", None)],
)
def test_kinds_by_name(name: str, kind: str | None) -> None:
    assert kind_of(name) == kind


@pytest.mark.parametrize("name", ["a.tar.xz", "a.7z", "a.gz"])
def test_other_kinds_say_how_to_pack(name: str) -> None:
    with pytest.raises(Unfit, match=r"pack it as \.tar"):
        kind_of(name)


@pytest.mark.parametrize("kind", ["tar", "tar.gz", "zip"])
def test_two_files_come_out_and_nothing_else(tmp_path: Path, kind: str) -> None:
    folder = unpack(packed(kind, GOOD), kind, tmp_path, 1000)
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == {CONFIG: b"{}", WEIGHTS: b"weights"}
    assert [file for file in tmp_path.rglob("*") if file.is_file() and file.parent != folder] == []


@pytest.mark.parametrize("kind", ["tar.gz", "zip"])
def test_packed_bytes_that_changed_on_their_way_are_refused(tmp_path: Path, kind: str) -> None:
    """Though they unpack to something of the same length."""
    weights = random.Random(7).randbytes(200_000)
    archive = bytearray(packed(kind, {CONFIG: b"{}", WEIGHTS: weights}).getvalue())
    archive[100_000] ^= 1
    with pytest.raises(Unfit, match=f"is no whole {kind} archive"):
        unpack(io.BytesIO(archive), kind, tmp_path, 1_000_000)


def test_what_follows_a_packed_tar_is_bounded(tmp_path: Path) -> None:
    with pytest.raises(Unfit, match="unpacks to more than"):
        unpack(io.BytesIO(gzip.compress(tar(GOOD).getvalue() + bytes(8_000_000))), "tar.gz", tmp_path, 1000)


@pytest.mark.parametrize("kind", ["tar", "zip"])
@pytest.mark.parametrize(
    ("members", "said"),
    [
        ({f"../{CONFIG}": b"{}"}, "leads out of it"),
        ({f"/{CONFIG}": b"{}"}, "leads out of it"),
        ({"a/adapter_model.bin": b"x"}, "a pickle that could run code"),
        ({"a/adapters.safetensors": b"x"}, "MLX's format"),
        ({f"deep/er/{CONFIG}": b"{}"}, "at its top or in one folder there"),
        ({**GOOD, f"other/{CONFIG}": b"{}", f"other/{WEIGHTS}": b"w"}, r"several adapters \(naming, other\)"),
    ],
)
def test_what_is_no_one_adapter_is_refused(
    tmp_path: Path, kind: str, members: dict[str, bytes], said: str
) -> None:
    with pytest.raises(Unfit, match=said):
        unpack(packed(kind, members), kind, tmp_path, 1000)


@pytest.mark.parametrize("kind", ["tar", "tar.gz", "zip"])
def test_what_comes_out_is_bounded(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "MAX_MEMBERS", 10)
    big = {**GOOD, f"naming/{WEIGHTS}": b"\0" * 3_000_000}
    with pytest.raises(Unfit, match=r"adapters\.max_bytes"):
        unpack(packed(kind, big), kind, tmp_path, 1000)
    many = {f"{number}.txt": b"" for number in range(11)}
    with pytest.raises(Unfit, match="more than 10 members"):
        unpack(packed(kind, many), kind, tmp_path, 1000)


def test_links_are_refused(tmp_path: Path) -> None:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as into:
        member = tarfile.TarInfo(CONFIG)
        member.type, member.linkname = tarfile.SYMTYPE, "/etc/passwd"
        into.addfile(member)
    made.seek(0)
    with pytest.raises(Unfit, match="a link"):
        unpack(made, "tar", tmp_path, 1000)


@pytest.mark.parametrize("kind", ["tar", "tar.gz", "zip"])
def test_cut_off_within_its_members_it_is_refused(tmp_path: Path, kind: str) -> None:
    whole = packed(kind, {name: content for name, content in GOOD.items() if "README" not in name}).getvalue()
    members = {"tar": 1540, "tar.gz": len(whole) // 2, "zip": len(whole) - 1}[kind]
    for number, end in enumerate(range(10, members, 23)):
        (tmp_path / str(number)).mkdir()
        with pytest.raises(Unfit):
            unpack(io.BytesIO(whole[:end]), kind, tmp_path / str(number), 1000)


def test_rare_zips_are_refused_by_their_reason(tmp_path: Path) -> None:
    with pytest.raises(Unfit, match="rare compression"):
        unpack(zipped(GOOD, zipfile.ZIP_BZIP2), "zip", tmp_path, 1000)
    with pytest.raises(Unfit, match="no whole zip"):
        unpack(io.BytesIO(b"nonsense"), "zip", tmp_path, 1000)
