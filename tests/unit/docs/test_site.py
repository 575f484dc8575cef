"""The pages hang together: `make site` checks anchors too, this what it can without mkdocs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.glob("*.md"))
SETTINGS = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_what_a_page_links_to_is_there(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.S)
    for target in re.findall(r"\]\(([^)\s#]+)(?:#[^)]*)?\)", text):
        if "://" not in target:
            assert (DOCS / target).exists(), f"{page.name}: {target}"


def test_what_the_site_lists_is_there() -> None:
    listed = re.findall(r"- ([a-z-]+\.md)$", SETTINGS, re.M)
    assert len(listed) > 15
    assert [name for name in listed if not (DOCS / name).is_file()] == []


def test_the_site_fetches_nothing_from_elsewhere() -> None:
    assert "font: false" in SETTINGS
    assert "://" not in SETTINGS
