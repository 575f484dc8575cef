"""Imports run one way: each room imports only rooms below it, no two files import each other, and the data
plane never sees the control plane."""

from __future__ import annotations

from pathlib import Path

import pytest

from launch.setup.rooms import ROOMS, module_files, room_of, without_detours
from tests.unit.house.own_modules import own_modules

MODULES = [*module_files(Path(__file__).parents[3])]
SHARED = (
    "gateway.admission.engine_bound",
    "gateway.admission.limits",
    "gateway.admission.turns.engine_slots",
    "gateway.admission.turns.lora_slots",
    "gateway.agreement",
    "gateway.audit",
    "gateway.config",
    "gateway.dialects.registry",
    "gateway.errors",
    "gateway.json_lines",
    "gateway.placement",
    "gateway.sqlite",
    "gateway.upkeep",
    "gateway.usage.report",
    "gateway.whole_files",
    "gateway.pipeline.compile",
    "gateway.relay.fallback.litellm_loader",
    "gateway.relay.fallback.policy",
)
"""What the control plane may know of the gateway: how gateways agree, the configuration, the snapshot, what
stands in a state directory, whether pipelines compile and defaults have a parameter, what a fallback can be
asked, and its library; and the rules for slots and places, which the simulator tries."""
BESIDE = (
    "gateway.errors",
    "gateway.whole_files",
    "gateway.config",
    "gateway.client",
    "gateway.pipeline.settling",
)
"""What the Python API may know of the gateway: it speaks HTTP to the rest. Without the pipeline it groups by
hand, and settles that as the pipeline does."""


def within(module: str, rooms: tuple[str, ...]) -> bool:
    return any(module == room or module.startswith(f"{room}.") for room in rooms)


@pytest.mark.parametrize("module", MODULES)
def test_a_module_imports_only_rooms_below_its_own(module: str) -> None:
    own = room_of(module)
    assert own or module in ("gateway", "launch"), f"{module} stands in no room of the list"
    for name in own_modules()[module].imports:
        other = room_of(name)
        if own and other and other != own:
            assert ROOMS.index(other) < ROOMS.index(own), f"{module} imports {name}, a room above it"


@pytest.mark.parametrize("module", MODULES)
def test_the_two_planes_share_only_what_is_listed(module: str) -> None:
    for name in own_modules()[module].imports:
        if module.startswith("gateway"):
            assert not name.startswith("launch"), f"{module} imports {name}"
        elif name.startswith("gateway."):
            assert within(name, SHARED), f"{module} imports {name}"
        if within(module, ("gateway.client",)) and name.startswith("gateway."):
            assert within(name, BESIDE), f"{module} imports {name}"


def test_no_two_files_import_each_other() -> None:
    left = {name: set(module.imports) for name, module in own_modules().items()}
    while leaves := [name for name, imports in left.items() if not imports & left.keys()]:
        for name in leaves:
            del left[name]
    assert not left, f"these import each other in a circle: {', '.join(left)}"


def test_an_arrow_that_a_longer_way_stands_for_is_left_out() -> None:
    assert without_detours({"app": {"relay", "errors"}, "relay": {"errors"}, "errors": set()}) == {
        "app": {"relay"},
        "relay": {"errors"},
        "errors": set(),
    }
