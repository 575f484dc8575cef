"""The rooms, read from files: whose module is whose, and which rooms import which."""

from __future__ import annotations

from pathlib import Path

import pytest

from launch.setup.rooms import ROOMS, arrows, read_modules, room_of, without_detours


def written(root: Path, **files: str) -> Path:
    for name, text in files.items():
        file = root / (name.replace("__", "/") + ".py")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return root


def test_room_is_found_by_whole_names() -> None:
    assert room_of("gateway.http.parsers") == "gateway.http"
    assert room_of("gateway.httpx") is None
    assert (room_of("gateway"), room_of("json")) == (None, None)
    assert len(set(ROOMS)) == len(ROOMS)


def test_imports_of_ours_are_read_in_any_form(tmp_path: Path) -> None:
    root = written(
        tmp_path,
        gateway__errors='"""Errors."""\n',
        gateway__http__one="import json\nfrom gateway.http import two\nimport gateway.errors\n",
        gateway__http__two="def f():\n    from gateway.errors import Error\n",
    )
    modules = read_modules(root)
    assert modules["gateway.errors"].doc == "Errors."
    assert modules["gateway.http.one"].imports == {"gateway.http.two", "gateway.errors"}
    assert modules["gateway.http.two"].imports == {"gateway.errors"}
    assert arrows(modules)["gateway.http"] == {"gateway.errors"}


def test_relative_import_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"gateway\.http\.one: write imports in full"):
        read_modules(written(tmp_path, gateway__http__one="from . import two\n"))


def test_detour_of_any_length_is_left_out() -> None:
    found = without_detours({"a": {"b", "c", "d"}, "b": {"c"}, "c": {"d"}, "d": set()})
    assert found == {"a": {"b"}, "b": {"c"}, "c": {"d"}, "d": set()}
