"""Opening what somebody else wrote: regular files, within folders and bounds, as strictly as the engine."""

from __future__ import annotations

import io
import os
from pathlib import Path

import pytest

from launch.machine import files
from launch.machine.files import Unfit, lies_within, open_regular, parse_json, plain_utf8, read_json, shorten


def test_regular_file_is_opened_and_what_is_none_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x")
    with open_regular(tmp_path / "file") as opened:
        assert opened.read() == b"x"
    os.mkfifo(tmp_path / "pipe")
    for name, kind in (("pipe", "a pipe"), (".", "a folder"), ("/dev/null", "a device")):
        with pytest.raises(Unfit, match=kind):
            open_regular(tmp_path / name)


def test_link_out_of_the_roots_is_refused_by_where_it_leads(tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    (tmp_path / "secret").touch()
    (tmp_path / "root" / "link").symlink_to(tmp_path / "secret")
    with pytest.raises(Unfit, match=r"outside adapters\.roots"):
        open_regular(tmp_path / "root" / "link", [tmp_path / "root"])
    open_regular(tmp_path / "root" / "link", [tmp_path]).close()
    assert not lies_within(tmp_path / "rootless", [tmp_path / "root"])  # a name that only begins alike


def test_bound_and_a_pointer_are_said(monkeypatch: pytest.MonkeyPatch) -> None:
    assert read_json(io.BytesIO(b'{"a": 1}')) == ({"a": 1}, b'{"a": 1}')
    with pytest.raises(Unfit, match="git lfs pull"):
        read_json(io.BytesIO(b"version https://git-lfs.github.com/spec/v1\n"))
    monkeypatch.setattr(files, "MAX_JSON_BYTES", 4)
    with pytest.raises(Unfit, match="larger than 4 bytes"):
        read_json(io.BytesIO(b"[1, 2]"))


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (b'{"a": 1, "a": 2}', "the key a twice"),
        (b"[NaN]", "NaN, which is no number"),
        (b"[" * 100_000, "nested too deeply"),
        (b"{", "is not JSON"),
        (b"\xff", "is not JSON"),
        (b'"\xed\xa0\x80"', "is not JSON"),
    ],
)
def test_what_python_would_take_is_refused(raw: bytes, said: str) -> None:
    with pytest.raises(Unfit, match=said):
        parse_json(raw)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-be", "utf-32"])
def test_any_encoding_becomes_plain_utf8(encoding: str) -> None:
    assert plain_utf8('{"a": "ü"}'.encode(encoding)) == '{"a": "ü"}'.encode()


def test_foreign_text_is_one_bounded_line() -> None:
    assert shorten("a\nb\x1b[31m") == "a?b?[31m"
    assert shorten("x" * 200, 10) == "x" * 7 + "..."
    assert shorten(["x"]) == "['x']"
