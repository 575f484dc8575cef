"""Imports run one way, app → endpoints → pipeline → relay → the rest → config; gateway never sees launch."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
LEVELS = (
    (
        "gateway.errors",
        "gateway.config.launch_lock",
        "gateway.config.loopback",
        "gateway.config.origins",
        "gateway.config.process_start",
        "gateway.transactions",
        "gateway.upkeep",
    ),
    ("gateway.config.settings",),
    (
        "gateway.config.document",
        "gateway.config.snapshot",
        "gateway.admission.suspects",
        "gateway.admission.suspect_file",
    ),
    ("gateway.client",),
    ("gateway.metrics.shared_memory",),
    ("gateway.metrics.exposition",),
    ("gateway.metrics.counters", "gateway.http.event_stream"),
    (
        "gateway.routing.table",
        "gateway.routing.replica",
        "gateway.routing.replicas",
        "gateway.routing.control_socket",
        "gateway.config.live",
        "gateway.admission.lora_slots",
        "gateway.http.engine_pool",
        "gateway.http.engine_connection",
        "gateway.admission.limits",
        "gateway.admission.lobby",
        "gateway.admission.api_keys",
        "gateway.http.request_cycle",
        "gateway.http.deadline",
        "gateway.http.request_head",
        "gateway.http.parsers",
        "gateway.http.client_connection",
        "gateway.http.strictness",
        "gateway.workers",
    ),
    (
        "gateway.dialects.request_body",
        "gateway.dialects",
        "gateway.admission.background",
        "gateway.relay.request_record",
        "gateway.dialects.prompt_scores",
        "gateway.admission.death_guard",
        "gateway.relay.shadow.comparison",
        "gateway.relay.shadow.journal",
    ),
    ("gateway.routing.cold_start", "gateway.routing.retirement"),
    ("gateway.routing.snapshot_follower",),
    ("gateway.relay.relay",),
    ("gateway.relay.direct",),
    ("gateway.relay.shadow.copies", "gateway.relay.shadow.copy"),
    ("gateway.relay.fallback",),
    ("gateway.pipeline",),
    ("gateway.batches",),
    ("gateway.endpoints.openapi",),
    ("gateway.endpoints",),
    ("gateway.app",),
    ("gateway.__main__",),
)
SHARED = (
    "gateway.config.document",
    "gateway.errors",
    "gateway.config.launch_lock",
    "gateway.config.loopback",
    "gateway.config.process_start",
    "gateway.config.snapshot",
    "gateway.transactions",
    "gateway.upkeep",
    "gateway.pipeline.compile",
    "gateway.relay.fallback.litellm_loader",
    "gateway.relay.fallback.policy",
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
