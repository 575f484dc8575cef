"""The engines of a launch on the nodes of a Ray cluster, as they are before any is started."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace

from gateway.config.document import Config
from gateway.config.secrets.state_secrets import needed_secret
from gateway.config.snapshot import EngineStatus
from launch.engine.loaded_adapters import EngineCalls
from launch.engine.managed import Means
from launch.engine.on_ray.adapter_courier import calls_to
from launch.engine.on_ray.cluster import RayCluster
from launch.engine.on_ray.node_engine import EngineOrder
from launch.engine.on_ray.remote_engine import on_seat
from launch.supervisor.replicas.layout import BINDING, name_of, status_of, threads_within

LAUNCH = "ray.launch"
"""A word of the state directory's own."""
PLACING = "waiting for a node with room"


def namespace_of(config: Config) -> str:
    """Of this launch, and of those that stand by for it: others who shared it would end its engines."""
    if given := config.backend.ray.namespace:
        return given
    own = needed_secret(config.common_dir, LAUNCH)
    return f"lora-gateway-{hashlib.sha256(own.encode()).hexdigest()[:8]}"


def cards_each(config: Config, has_gpu: bool) -> int:
    """Cards that are reserved for each engine on its node."""
    asked = config.backend.ray.gpus
    if asked is None:
        return config.base.tensor_parallel_size if has_gpu else 0
    return asked


def bundle_of(config: Config, cards: int) -> dict[str, float]:
    """What one node reserves for an engine, all of it on that node.

    One that is split over several nodes has vLLM reserve the cards itself, beside its server's processors.
    """
    settings = config.backend.ray
    bundle = {"CPU": settings.cpus, **settings.resources}
    return {**bundle, "GPU": float(cards)} if cards and settings.nodes == 1 else bundle


def laid_on_ray(
    config: Config, cluster: RayCluster, means: Means, key: str, bundle: Mapping[str, float]
) -> list[tuple[EngineStatus, Means]]:
    """Each engine with its seat; what an earlier launch left of others is ended."""
    names = [name_of(index) for index in range(config.backend.most)]
    cluster.sweep(names)
    running = cluster.running(names)
    head = cluster.head if config.backend.ray.nodes > 1 else ""
    # Where machines share more than the cluster, gateways and control planes elsewhere must reach it too.
    here = cluster.address if config.shared is None else ""
    command = means.command
    if config.backend.ray.nodes == 1 and not bundle.get("GPU"):
        command = replace(command, env={**command.env, **_threads(config)})
    laid: list[tuple[EngineStatus, Means]] = []
    for index, name in enumerate(names):
        order = EngineOrder(name, command.argv, command.env, config.engine.port, here, ray_address=head)
        seat = cluster.seat(order, bundle)
        own = replace(
            means,
            label=name,
            elsewhere=on_seat(seat),
            first_stage=PLACING,
            runs=name in running,
            calls=calls_to(seat, EngineCalls.with_key(key)),
        )
        laid.append((status_of(config, index, "", command), own))
    return laid


def _threads(config: Config) -> dict[str, str]:
    """Of an engine without a card: as many as it has reserved; with one core, the default, its node's all."""
    cores = int(config.backend.ray.cpus)
    if cores < 2 or BINDING in config.engine.env:
        return {}
    return threads_within(cores, config.base.tensor_parallel_size, config.engine.env, alone=True)
