"""The pages hang together: `make site` checks anchors too, this what it can without mkdocs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.glob("*.md"))
TEXTS = [*PAGES, *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md"))]
FOLDERS = ("gateway/", "launch/", "tests/", "configs/", "deploy/", "docs/", "requirements/", "ui/")
MODULES = [file for folder in ("gateway", "launch", "tests") for file in (ROOT / folder).rglob("*.py")]
MADE_BY_USERS = {"deploy/config/config.yaml"}
ELSEWHERE = ("vllm/",)
"""Whose files they are that have a name like ours."""
OTHER_KINDS = ("json", "md", "yaml")
SETTINGS = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_what_a_page_links_to_is_there(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.S)
    for target in re.findall(r"\]\(([^)\s#]+)(?:#[^)]*)?\)", text):
        if "://" not in target:
            assert (DOCS / target).exists(), f"{page.name}: {target}"


@pytest.mark.parametrize("page", TEXTS, ids=lambda page: page.name)
def test_a_file_or_module_that_a_text_names_is_there(page: Path) -> None:
    named = set(re.findall(r"`((?:[\w.-]+/)+[\w.-]*)`", page.read_text(encoding="utf-8")))
    assert [one for one in sorted(named - MADE_BY_USERS) if not stands(one)] == []


def stands(named: str) -> bool:
    """As a path, or as `room/module.py` or `room/module.Name` wherever it stands; all else names no file."""
    if (ROOT / named).exists() or (ROOT / f"{named}.py").is_file() or named.startswith(ELSEWHERE):
        return True
    module, _, name = named.partition(".")
    if name in OTHER_KINDS or not name.isidentifier():
        return not named.startswith(FOLDERS)
    files = [file for file in MODULES if file.as_posix().endswith(f"/{module}.py")]
    return any(name == "py" or name in file.read_text(encoding="utf-8") for file in files)


def test_what_the_site_lists_is_there() -> None:
    listed = re.findall(r"- ([a-z-]+\.md)$", SETTINGS, re.M)
    assert len(listed) > 15
    assert [name for name in listed if not (DOCS / name).is_file()] == []


def test_the_site_fetches_nothing_from_elsewhere() -> None:
    assert "font: false" in SETTINGS
    assert "://" not in SETTINGS
