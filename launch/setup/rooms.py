"""The rooms of both packages, in the one order in which they may import each other; read from their files."""

from __future__ import annotations

import ast
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

ROOMS = (
    "gateway.errors",
    "gateway.placement",
    "gateway.sqlite",
    "gateway.upkeep",
    "gateway.structs",
    "gateway.json_lines",
    "gateway.whole_files",
    "gateway.strict_yaml",
    "gateway.audit",
    "gateway.metrics",
    "gateway.config",
    "gateway.agreement",
    "gateway.usage",
    "gateway.traces",
    "gateway.http",
    "gateway.admission",
    "gateway.routing",
    "gateway.scrape",
    "gateway.dialects",
    "gateway.relay",
    "gateway.grammar_trial",
    "gateway.pipeline",
    "gateway.batches",
    "gateway.endpoints",
    "gateway.ui",
    "gateway.app",
    "gateway.__main__",
    "gateway.client",
    "launch.commands",
    "launch.machine",
    "launch.setup",
    "launch.base",
    "launch.adapters",
    "launch.engine",
    "launch.planning",
    "launch.supervisor",
    "launch.__main__",
    "launch.training",
    "launch.train_lora",
    "launch.simulation",
    "launch.bench",
    "launch.cli",
    "launch.entry",
)
"""Lowest first: a room may import those before it, and itself."""
PACKAGES = ("gateway", "launch")


@dataclass(frozen=True)
class Module:
    """One file: what it says of itself, its lines, and the modules of ours that it imports."""

    name: str
    doc: str
    lines: int
    imports: frozenset[str]


def room_of(module: str) -> str | None:
    """The room that a module stands in; None for a package itself and for what is none of ours."""
    return next((room for room in ROOMS if module == room or module.startswith(f"{room}.")), None)


def module_files(root: Path) -> dict[str, Path]:
    """The file of every module of both packages under `root`, by dotted name."""
    return {
        ".".join(file.relative_to(root).with_suffix("").parts).removesuffix(".__init__"): file
        for package in PACKAGES
        for file in sorted(root.glob(f"{package}/**/*.py"))
    }


def read_modules(root: Path) -> dict[str, Module]:
    """Every module of both packages under `root`, by dotted name. Raises ValueError for a relative import."""
    files = module_files(root)
    return {name: _read(name, file, files) for name, file in files.items()}


def arrows(modules: Mapping[str, Module]) -> dict[str, set[str]]:
    """Room → the rooms that it imports, itself left out."""
    found: dict[str, set[str]] = {}
    for module in modules.values():
        room = room_of(module.name)
        if room is None:
            continue
        held = found.setdefault(room, set())
        held.update(other for name in module.imports if (other := room_of(name)) not in (None, room))
    return found


def without_detours(arrows_: Mapping[str, set[str]]) -> dict[str, set[str]]:
    """Of arrows without a circle, those that no longer way stands for (the transitive reduction)."""
    reach: dict[str, set[str]] = {}

    def reached(room: str) -> set[str]:
        if room not in reach:
            reach[room] = set().union(*({next_, *reached(next_)} for next_ in arrows_.get(room, ())), set())
        return reach[room]

    return {
        room: {one for one in nexts if not any(one in reached(other) for other in nexts - {one})}
        for room, nexts in arrows_.items()
    }


def _read(name: str, file: Path, known: Collection[str]) -> Module:
    text = file.read_text(encoding="utf-8")
    tree = ast.parse(text)
    imports = frozenset(each for each in _imported(name, tree, known) if each in known and each != name)
    return Module(name, ast.get_docstring(tree) or "", text.count("\n"), imports)


def _imported(name: str, tree: ast.Module, known: Collection[str]) -> Iterator[str]:
    """What is imported, also where a module is taken out of its package."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            if node.level or node.module is None:
                raise ValueError(f"{name}: write imports in full")
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield inner if inner in known else node.module
