"""The page of licences."""

from __future__ import annotations

import pytest

from launch.setup.licences_page import LOCKS, PAGE, ROOT, licence_of, stated
from launch.setup.lock_file import Pinned, read_lock


def test_the_page_is_of_the_packages_that_are_locked_now() -> None:
    rows = {tuple(row.split(" | ")[:2]) for row in PAGE.read_text(encoding="utf-8").split("\n| ")}
    for lock in LOCKS:
        for one in read_lock(ROOT / "requirements" / lock):
            assert (one.name, one.version) in rows, f"{one.name}: run make licences"


@pytest.mark.parametrize(
    ("said", "line"),
    [
        (("MIT OR Apache-2.0", [], None), "MIT OR Apache-2.0"),
        ((None, ["License :: OSI Approved :: MIT License", "Topic :: x"], "long text"), "MIT License"),
        ((None, [], "BSD | 3\nand so on"), "BSD / 3"),
        ((None, [], ""), "not stated"),
        (("x" * 100, [], None), "x" * 59 + "…"),
    ],
)
def test_what_a_package_states(said: tuple[str | None, list[str], str | None], line: str) -> None:
    assert stated(*said) == line


def test_what_is_not_here_is_said_to_be_so() -> None:
    assert licence_of(Pinned("no-such-package-here", "1", ())) == "not installed here"
    assert "is installed here" in licence_of(Pinned("typer", "0.0.0", ()))
