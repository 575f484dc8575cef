"""A public class name stands for one thing in a package."""

from __future__ import annotations

import ast
from collections import defaultdict
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
TWICE = frozenset({"Model"})
"""Users know both by this name: the Python API's handle, and the schema of an entry of `/v1/models`."""


def public_classes(package: str) -> dict[str, list[str]]:
    """Name → the modules that define a class of it."""
    found: dict[str, list[str]] = defaultdict(list)
    for file in sorted((ROOT / package).rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                found[node.name].append(".".join(file.relative_to(ROOT).with_suffix("").parts))
    return found


@pytest.mark.parametrize("package", ["gateway", "launch"])
def test_no_two_public_classes_of_a_package_share_a_name(package: str) -> None:
    shared = {name: modules for name, modules in public_classes(package).items() if len(modules) > 1}
    assert shared.keys() <= TWICE, shared


def test_an_exception_is_still_one() -> None:
    assert all(len(public_classes("gateway")[name]) > 1 for name in TWICE)


@pytest.mark.parametrize("package", ["gateway", "launch"])
def test_a_public_docstring_says_more_than_the_name(package: str) -> None:
    """Four words or fewer never did: what is promised, in which unit, raising what."""
    short = [
        f"{file.relative_to(ROOT)}: {node.name}: {said}"
        for file in sorted((ROOT / package).rglob("*.py"))
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        and not node.name.startswith("_")
        and (said := ast.get_docstring(node))
        and len(said.split()) <= 4
    ]
    assert short == []
