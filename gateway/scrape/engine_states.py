"""How the engines stand, as the control plane tells it, and which build this is."""

from __future__ import annotations

import platform
from collections.abc import Collection, Iterator
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import get_args

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric

from gateway.config.snapshot import EngineStateName, EngineStatus, Snapshot
from gateway.metrics.exposition import PREFIX

STATES: tuple[EngineStateName, ...] = get_args(EngineStateName)


def build_info() -> Metric:
    """Which release answers, on which Python."""
    info = GaugeMetricFamily(
        PREFIX + "build_info", "This gateway's release; always 1.", labels=("version", "python")
    )
    info.add_metric((release(), platform.python_version()), 1)
    return info


@cache
def release() -> str:
    """The version of the installed package, read once; `unknown` in a checkout that is not installed."""
    try:
        return version("lora-gateway")
    except PackageNotFoundError:
        return "unknown"


def engine_families(snapshot: Snapshot, control_alive: bool, telling: Collection[str]) -> Iterator[Metric]:
    """`telling` are the engines whose own figures are shown beside these."""
    engines = snapshot.engines
    yield _one("control_plane_up", "Whether the control plane speaks to this gateway.", float(control_alive))
    states = GaugeMetricFamily(
        PREFIX + "engine_state", "1 for the state that an engine is in, else 0.", labels=("engine", "state")
    )
    for one in engines:
        for state in STATES:
            states.add_metric((one.name, state), float(one.state == state))
    yield states
    yield _of_each(
        "engine_figures_up",
        "Whether the engine has told its own figures (vllm:…) in the last seconds.",
        [(one.name, float(one.name in telling)) for one in engines],
    )
    yield _of_each(
        "engine_start_time_seconds",
        "When the engine's process was started, since the epoch.",
        [(one.name, one.started_at) for one in engines if one.started_at],
    )
    yield _of_each(
        "engine_load_seconds",
        "How long the last start took, until base and adapters were proven.",
        [(one.name, one.load_s) for one in engines if one.load_s is not None],
    )
    yield _of_each(
        "engine_restarts_in_a_row",
        "Restarts since the engine last served well for a while.",
        [(one.name, float(one.restarts)) for one in engines],
    )
    yield _of_each(
        "engine_adapters",
        "Adapters that are loaded and proven on the engine.",
        [(one.name, float(len(one.loaded))) for one in engines],
    )
    yield _of_each(
        "engine_lora_slots",
        "Adapters that one batch of the engine may hold.",
        [(one.name, float(one.slots)) for one in engines if one.slots is not None],
    )
    yield _memory(engines)
    yield _loads(engines)


def _memory(engines: Collection[EngineStatus]) -> Metric:
    memory = GaugeMetricFamily(
        PREFIX + "engine_memory_bytes",
        "What the engine's processes held when it became ready, on its cards or in main memory.",
        labels=("engine", "memory"),
    )
    for one in engines:
        if one.memory_bytes is not None and one.state in ("ready", "draining"):
            memory.add_metric((one.name, one.memory_on), one.memory_bytes)
    return memory


def _loads(engines: Collection[EngineStatus]) -> Metric:
    loads = CounterMetricFamily(
        PREFIX + "engine_adapter_loads",
        "Adapters loaded and proven on the engine since the control plane began, by why: its first time "
        "there, a restart of the engine, or again after it was unloaded.",
        labels=("engine", "reason"),
    )
    for one in engines:
        for reason, count in sorted(one.adapter_loads.items()):
            loads.add_metric((one.name, reason), count)
    return loads


def _one(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(PREFIX + name, text, value=value)


def _of_each(name: str, text: str, values: Collection[tuple[str, float]]) -> Metric:
    family = GaugeMetricFamily(PREFIX + name, text, labels=("engine",))
    for engine, value in values:
        family.add_metric((engine,), value)
    return family
