"""Engines of a launch on a cluster: what each reserves, and how it is begun."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest
from pydantic import ValidationError

from gateway.config.document import Config
from launch.engine.argv import EngineCommand
from launch.engine.managed import Means
from launch.engine.on_ray.cluster import RayCluster
from launch.engine.vllm_plugin.message_wait import SHARED_CORES
from launch.supervisor.replicas.layout import BINDING, THREADS, WAITING
from launch.supervisor.replicas.on_ray import PLACING, bundle_of, cards_each, laid_on_ray, namespace_of


def config_of(tensor_parallel_size: int = 1, **ray: Any) -> Config:
    base = {"model": "m", "tensor_parallel_size": tensor_parallel_size}
    return Config.model_validate({"base": base, "engines": {"backend": "ray", "replicas": 2, "ray": ray}})


class FakeCluster:
    address, head = "10.0.0.1", "10.0.0.1:6379"

    def __init__(self) -> None:
        self.swept: list[str] = []
        self.orders: list[Any] = []

    def sweep(self, names: list[str]) -> None:
        self.swept = names

    def running(self, names: list[str]) -> set[str]:
        return {"engine-1"}

    def seat(self, order: Any, bundle: Any) -> Any:
        self.orders.append((order, bundle))
        return object()


def test_two_launches_on_one_cluster_have_a_namespace_each_that_stays(tmp_path: Path) -> None:
    first, second = (
        config_of().model_copy(update={"state_dir": tmp_path / name}) for name in ("first", "second")
    )
    assert namespace_of(first) == namespace_of(first) != namespace_of(second)
    assert namespace_of(first).startswith("lora-gateway-")
    assert namespace_of(config_of(namespace="mine")) == "mine"


def test_an_engine_has_as_many_cards_as_it_is_split_over() -> None:
    split = config_of(4)
    assert bundle_of(split, cards_each(split, has_gpu=True)) == {"CPU": 1.0, "GPU": 4.0}
    assert bundle_of(split, cards_each(split, has_gpu=False)) == {"CPU": 1.0}
    told = config_of(gpus=2, cpus=6, resources={"rack-a": 0.5})
    assert bundle_of(told, cards_each(told, has_gpu=False)) == {"CPU": 6.0, "GPU": 2.0, "rack-a": 0.5}


def test_over_several_nodes_vllm_reserves_the_cards_itself() -> None:
    wide = config_of(8, nodes=2)
    assert bundle_of(wide, 8) == {"CPU": 1.0}


@pytest.mark.parametrize(("nodes", "head"), [(1, ""), (2, "10.0.0.1:6379")])
def test_each_engine_has_a_seat_and_its_command(nodes: int, head: str) -> None:
    cluster = FakeCluster()
    command = EngineCommand(("python", "-m", "vllm"), {"A": "1"}, slots=3)
    laid = laid_on_ray(config_of(nodes=nodes), cast(RayCluster, cluster), Means(command), "key", {"CPU": 1.0})
    assert cluster.swept == ["engine-0", "engine-1"]
    shown = [(status.name, status.url, status.slots, means.label) for status, means in laid]
    assert shown == [("engine-0", "", 3, "engine-0"), ("engine-1", "", 3, "engine-1")]
    assert all(means.elsewhere and means.first_stage == PLACING for _, means in laid)
    assert [means.runs for _, means in laid] == [False, True]
    order, bundle = cluster.orders[1]
    assert (order.name, order.argv, order.reached_from, order.ray_address) == (
        "engine-1",
        command.argv,
        "10.0.0.1",
        head,
    )
    assert bundle == {"CPU": 1.0}


@pytest.mark.parametrize(
    ("cpus", "bundle", "env"),
    [
        (1, {"CPU": 1.0}, {}),
        (4, {"CPU": 4.0}, {BINDING: "nobind", WAITING: "passive", THREADS: "4", SHARED_CORES: "1"}),
        (8, {"CPU": 8.0}, {BINDING: "nobind", THREADS: "7"}),
        (8, {"CPU": 8.0, "GPU": 1.0}, {}),
    ],
)
def test_an_engine_without_a_card_has_as_many_threads_as_it_has_reserved(
    cpus: float, bundle: dict[str, float], env: dict[str, str]
) -> None:
    cluster = FakeCluster()
    command = EngineCommand(("python",), {"A": "1"})
    laid_on_ray(config_of(cpus=cpus), cast(RayCluster, cluster), Means(command), "key", bundle)
    assert [order.env for order, _ in cluster.orders] == [{"A": "1", **env}] * 2


def test_where_others_ask_too_an_engine_listens_where_they_reach_it() -> None:
    cluster = FakeCluster()
    given = {"base": {"model": "m"}, "engines": {"backend": "ray"}, "shared": {"redis": "redis://r:6379/0"}}
    laid_on_ray(
        Config.model_validate(given),
        cast(RayCluster, cluster),
        Means(EngineCommand(("python",), {})),
        "key",
        {"CPU": 1.0},
    )
    ((order, _),) = cluster.orders
    assert order.reached_from == ""


def test_what_is_of_ray_is_refused_without_it() -> None:
    with pytest.raises(ValidationError, match=r"is for engines\.backend: ray"):
        Config.model_validate({"base": {"model": "m"}, "engines": {"replicas": 2, "ray": {"cpus": 2}}})
