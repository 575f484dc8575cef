"""For mkdocs: what pages name outside docs/ comes with the site as it stands; a folder is not linked."""

import re
from pathlib import Path

from mkdocs.structure.files import File

ROOT = Path(__file__).resolve().parents[2]
OUTSIDE = re.compile(r"\[([^\]]+)\]\(\.\./([^)#\s]+)(#[^)\s]*)?\)")


def on_files(files, config):
    """Add each file that a page names, as text: a page of its own would have links of its own."""
    named = set()
    for page in (ROOT / "docs").glob("*.md"):
        named |= {found[2] for found in OUTSIDE.finditer(page.read_text(encoding="utf-8"))}
    for path in sorted(named):
        if (ROOT / path).is_file():
            content = (ROOT / path).read_bytes()
            files.append(File.generated(config, f"source/{path}.txt", content=content))
    return files


def on_page_markdown(markdown, page, config, files):
    """Lead those links to the copies."""

    def led(found):
        text, path = found[1], found[2]
        return f"[{text}](source/{path}.txt)" if (ROOT / path).is_file() else text

    return OUTSIDE.sub(led, markdown)
