"""`docs/licences.md`: the licences of what the CPU environment holds, as its packages state them."""

from __future__ import annotations

import re
import sys
from collections import Counter
from importlib import metadata
from pathlib import Path

from launch.setup.lock_file import Pinned, read_lock

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "licences.md"
LOCKS = ("torch-cpu.txt", "cpu.txt")
HEAD = """# Licences of dependencies

lora-gateway itself is under Apache-2.0. This is what the packages of the CPU environment
(`requirements/cpu.txt`) say of themselves in their metadata, written by `make licences`; the tests' and
checks' packages are among them. `make sbom` lists every lock in CycloneDX' form. What is not installed on the
machine that wrote this (a package for another system or Python) is said to be so.

The package carries `launch/simulation/azure_2023_conversation.csv`: times, prompt and answer lengths of 2,000
requests (numbers 4,001 to 6,000, times from the first of them on) of the conversation trace in Azure's public
dataset of LLM inference 2023 (github.com/Azure/AzurePublicDataset; Patel et al., Splitwise,
ISCA 2024), under CC-BY-4.0.

Words, groups and definitions of the held-out examples (`configs/demo/heldout`, but `everyday.jsonl`)
are WordNet 3.0's, under its [own licence](../configs/demo/heldout/WORDNET-LICENSE.txt),
which asks that it goes with every copy.
"""
MARK = "License :: OSI Approved :: "
LONGEST = 60


def page() -> str:
    """The page of licences as Markdown, by what is pinned and installed."""
    pinned = [one for lock in LOCKS for one in read_lock(ROOT / "requirements" / lock)]
    licences = {one: licence_of(one) for one in sorted(pinned, key=lambda one: one.name)}
    counted = Counter(licences.values()).most_common()
    summary = [
        f"| {licence} | {count} |" for licence, count in sorted(counted, key=lambda each: (-each[1], each[0]))
    ]
    rows = [f"| {one.name} | {one.version} | {licence} |" for one, licence in licences.items()]
    return "\n".join(
        [
            HEAD,
            "| licence | packages |",
            "|---|---|",
            *summary,
            "",
            "## Each",
            "",
            "| package | version | licence |",
            "|---|---|---|",
            *rows,
            "",
        ]
    )


def licence_of(package: Pinned) -> str:
    """As its metadata says: the SPDX expression, else the classifiers, else the first line of its text."""
    try:
        said = metadata.metadata(package.name)
    except metadata.PackageNotFoundError:
        return "not installed here"
    if said["Version"] != package.version:
        return f"version {said['Version']} is installed here"
    fields = {name: said[name] for name in ("License-Expression", "License") if name in said}
    classifiers = said.get_all("Classifier") or []
    return stated(fields.get("License-Expression"), classifiers, fields.get("License"))


def stated(expression: str | None, classifiers: list[str], text: str | None) -> str:
    """One line, without what Markdown would take for a column."""
    named = sorted({one.removeprefix(MARK) for one in classifiers if one.startswith(MARK)})
    first = (text or "").strip().splitlines()
    found = expression or ", ".join(named) or (first[0] if first else "")
    short = re.sub(r"\s+", " ", found.replace("|", "/")).strip()
    if not short:
        return "not stated"
    return short if len(short) <= LONGEST else f"{short[: LONGEST - 1]}…"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    sys.stderr.write(f"written: {PAGE.name}\n")
