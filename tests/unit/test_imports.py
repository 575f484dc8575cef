"""Imports run one way, app → endpoints → pipeline → relay → the rest → config; gateway never sees launch."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LEVELS = (
    (
        "gateway.errors",
        "gateway.launch_lock",
        "gateway.loopback",
        "gateway.origins",
        "gateway.process_start",
        "gateway.transactions",
        "gateway.upkeep",
    ),
    ("gateway.settings",),
    ("gateway.config", "gateway.snapshot", "gateway.suspects", "gateway.suspect_file"),
    ("gateway.client",),
    ("gateway.metrics_store",),
    ("gateway.metrics_text",),
    ("gateway.metrics", "gateway.events"),
    (
        "gateway.table",
        "gateway.replica",
        "gateway.replicas",
        "gateway.control",
        "gateway.live_config",
        "gateway.slots",
        "gateway.upstream",
        "gateway.upstream_connection",
        "gateway.limits",
        "gateway.lobby",
        "gateway.auth",
        "gateway.http_cycle",
        "gateway.http_deadline",
        "gateway.http_head",
        "gateway.http_parsers",
        "gateway.http_server",
        "gateway.http_strict",
        "gateway.workers",
    ),
    (
        "gateway.contract",
        "gateway.dialects",
        "gateway.background",
        "gateway.exchange",
        "gateway.prompt_scores",
        "gateway.death_guard",
        "gateway.shadow_answers",
        "gateway.shadow_record",
    ),
    ("gateway.cold", "gateway.retirement"),
    ("gateway.follower",),
    ("gateway.relay",),
    ("gateway.express",),
    ("gateway.shadow", "gateway.shadow_copy"),
    ("gateway.fallback",),
    ("gateway.pipeline",),
    ("gateway.batches",),
    ("gateway.openapi",),
    ("gateway.endpoints",),
    ("gateway.app",),
    ("gateway.__main__",),
)
SHARED = (
    "gateway.config",
    "gateway.errors",
    "gateway.launch_lock",
    "gateway.loopback",
    "gateway.process_start",
    "gateway.snapshot",
    "gateway.transactions",
    "gateway.upkeep",
    "gateway.pipeline.spec",
    "gateway.fallback.library",
    "gateway.fallback.policy",
)
"""What the control plane may know of the gateway: the configuration, whether its pipelines compile,
what a fallback can be asked and how its library is imported, when a process started, whether a launch
runs."""
FILES = sorted([*ROOT.glob("gateway/**/*.py"), *ROOT.glob("launch/**/*.py")])


def level_of(module: str) -> int | None:
    for level, names in enumerate(LEVELS):
        if any(module == name or module.startswith(f"{name}.") for name in names):
            return level
    return None


def imported(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file.name}: write imports in full"
            assert node.module is not None
            yield node.module


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_imports_run_one_way(file: Path) -> None:
    module = ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    own = level_of(module)
    for name in imported(file):
        if module.startswith("gateway"):
            assert not name.startswith("launch"), f"{module} imports {name}"
            other = level_of(name)
            assert own is None or other is None or other <= own, f"{module} imports {name}"
        elif name.startswith("gateway"):
            assert name in SHARED, f"{module} imports {name}"
