"""The connection to Ray, with a module in its place: what is asked of it, and what its errors mean."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from gateway.config.engine_settings import RayConfig
from gateway.errors import ConfigError, EngineFailure
from launch.engine.on_ray import cluster
from launch.engine.on_ray.cluster import ClusterAway, RayCluster, RaySeat, connected
from launch.engine.on_ray.node_engine import EngineOrder, ProcessStatus
from launch.engine.on_ray.remote_engine import Gone, Silent

SETTINGS = RayConfig.model_validate({})
ORDER = EngineOrder("engine-0", ("python", "-m", "vllm"), {"VLLM_API_KEY": "secret"}, 8101, "10.0.0.1")


class RayError(Exception): ...


class GetTimeoutError(RayError): ...


class ActorUnavailableError(RayError): ...


class FakeRay:
    """What of Ray is used; `answer` is what the next `get` gives or raises."""

    def __init__(self) -> None:
        self.answer: Any = None
        self.actors = ["engine-0.old", "engine-7.x"]
        self.groups = {"engine-0.old": "CREATED", "engine-8.x": "PENDING", "engine-9.x": "REMOVED"}
        self.others = ["someone's"]
        self.removed: list[str] = []
        self.ended: list[str] = []
        self.options: dict[str, Any] = {}
        self.asked: list[tuple[Any, ...]] = []
        self.exceptions = SimpleNamespace(
            RayError=RayError, GetTimeoutError=GetTimeoutError, ActorUnavailableError=ActorUnavailableError
        )
        self.util = SimpleNamespace(
            list_named_actors=lambda: list(self.actors),
            get_placement_group=self._group,
            placement_group_table=self._table,
            placement_group=lambda bundles, **given: (bundles, given),
            remove_placement_group=self.removed.append,
            get_node_ip_address=lambda: "10.0.0.1",
            scheduling_strategies=SimpleNamespace(PlacementGroupSchedulingStrategy=SimpleNamespace),
        )

    def init(self, **given: Any) -> Any:
        self.options = given
        if isinstance(self.answer, Exception):
            raise self.answer
        return SimpleNamespace(address_info={"gcs_address": "10.0.0.1:6379"})

    def shutdown(self) -> None:
        self.ended.append("driver")

    def remote(self, _: object) -> Any:
        return SimpleNamespace(options=self._options)

    def _options(self, **given: Any) -> Any:
        self.options = given
        return SimpleNamespace(
            remote=lambda *order: SimpleNamespace(claim=self._method("claim"), stop=self._method("stop"))
        )

    def _method(self, name: str) -> Any:
        def remote(*given: object) -> int:
            self.asked.append((name, *given))
            return len(self.asked)

        return SimpleNamespace(remote=remote)

    def get(self, ref: object, timeout: float) -> Any:
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    def get_actor(self, name: str, namespace: str) -> str:
        return name

    def kill(self, actor: str, no_restart: bool) -> None:
        self.ended.append(actor)

    def _group(self, name: str) -> str:
        if self.groups.get(name, "REMOVED") == "REMOVED":
            raise ValueError(name)
        return name

    def _table(self) -> dict[str, dict[str, str]]:
        """Of all namespaces."""
        groups = {**self.groups, **dict.fromkeys(self.others, "CREATED"), "": "CREATED"}
        return {str(at): {"name": name, "state": state} for at, (name, state) in enumerate(groups.items())}


def seat(ray: FakeRay, bundle: dict[str, float] | None = None) -> RaySeat:
    return RaySeat(ray, "lora-gateway", ORDER, bundle or {"CPU": 2, "GPU": 1, "rack": 1})


def test_without_this_backend_nothing_of_ray_is_imported() -> None:
    program = "import sys, launch.supervisor.prepare; print('ray' in sys.modules)"
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert said.strip() == "False"


def test_without_ray_the_mend_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ConfigError, match=r"pip install 'lora-gateway\[ray\]'"):
        RayCluster(SETTINGS, "ours")


@pytest.mark.parametrize(
    ("raised", "mend"),
    [
        (ConnectionError("no GCS"), "no cluster is reached from here"),
        (RuntimeError("Version mismatch: The cluster was started with:\n Ray: 1"), "install the same here"),
    ],
)
def test_without_a_cluster_the_key_is_named(
    monkeypatch: pytest.MonkeyPatch, raised: Exception, mend: str
) -> None:
    ray = FakeRay()
    monkeypatch.setitem(sys.modules, "ray", ray)
    ray.answer = raised
    with pytest.raises(ConfigError, match=mend) as refused:
        RayCluster(SETTINGS, "ours")
    assert refused.value.key == "engines.ray.address"
    assert isinstance(refused.value, ClusterAway) is isinstance(raised, ConnectionError)


@pytest.mark.anyio
async def test_others_go_on_until_the_cluster_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """A control plane that leads says so each second: else another one begins."""
    ray, said = FakeRay(), threading.Event()
    answers = ray.init

    def answers_late(**given: object) -> object:
        assert said.wait(20), "nobody else was heard"
        return answers(**given)

    monkeypatch.setitem(sys.modules, "ray", ray)
    monkeypatch.setattr(ray, "init", answers_late)
    connecting = asyncio.create_task(connected(SETTINGS, "ours"))
    await asyncio.sleep(0)
    said.set()
    assert (await connecting).head == "10.0.0.1:6379"


@pytest.mark.anyio
async def test_a_cluster_that_does_not_answer_is_not_waited_for_without_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ray, over = FakeRay(), threading.Event()
    monkeypatch.setitem(sys.modules, "ray", ray)
    monkeypatch.setattr(ray, "init", lambda **_: over.wait(20))
    monkeypatch.setattr(cluster, "CONNECT_S", 0.01)
    with pytest.raises(ClusterAway, match="nobody has answered within 0 s"):
        await connected(SETTINGS, "ours")
    over.set()


def test_what_an_earlier_launch_left_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    ray = FakeRay()
    monkeypatch.setitem(sys.modules, "ray", ray)
    made = RayCluster(SETTINGS, "ours")
    assert (made.address, made.head) == ("10.0.0.1", "10.0.0.1:6379")
    assert ray.options["namespace"] == "ours"
    assert made.running(["engine-0", "engine-1", "engine-7"]) == {"engine-0", "engine-7"}
    assert made.sweep(["engine-0"]) == ["engine-7.x", "engine-8.x"]
    assert ray.ended == ["engine-7.x", "engine-8.x"]
    assert ray.removed == ["engine-8.x"]
    made.close()
    assert ray.ended[-1] == "driver"


def test_an_actor_has_its_own_group_outlives_us_and_is_started_again() -> None:
    ray = FakeRay()
    made = seat(ray)
    made.occupy()
    assert (ray.ended, ray.removed) == (["engine-0.old"], ["engine-0.old"])  # made by another order
    given = ray.options
    assert (given["name"], given["lifetime"], given["max_restarts"]) == (made.name, "detached", -1)
    assert (given["num_cpus"], given["num_gpus"], given["resources"]) == (2, 1, {"rack": 1})
    bundles, group = given["scheduling_strategy"].placement_group
    assert bundles == [{"CPU": 2, "GPU": 1, "rack": 1}]
    assert (group["strategy"], group["lifetime"], group["name"]) == ("STRICT_PACK", "detached", made.name)


def test_another_control_planes_python_is_no_other_order() -> None:
    elsewhere = replace(ORDER, argv=("/opt/python", *ORDER.argv[1:]))
    assert RaySeat(FakeRay(), "ours", elsewhere, {"CPU": 1}).name == seat(FakeRay(), {"CPU": 1}).name


def test_another_order_or_place_is_another_name() -> None:
    ray = FakeRay()
    other = replace(ORDER, argv=(*ORDER.argv, "--seed"))
    assert RaySeat(ray, "ours", other, {"CPU": 1}).name != seat(ray, {"CPU": 1}).name
    assert seat(ray).name == seat(ray).name
    assert seat(ray).name != seat(ray, {"CPU": 1}).name
    assert "secret" not in seat(ray).name


@pytest.mark.parametrize(
    ("raised", "meant"),
    [(GetTimeoutError(), Silent), (ActorUnavailableError(), Gone), (RayError("it died"), EngineFailure)],
)
def test_errors_of_ray_are_ours(raised: Exception, meant: type[Exception]) -> None:
    ray = FakeRay()
    made = seat(ray)
    with pytest.raises(Gone, match="not occupied"):
        made.claim()
    made.occupy()
    ray.answer = raised
    with pytest.raises(meant) as found:
        made.claim()
    assert type(found.value) is meant


def test_a_question_without_an_answer_is_waited_for_and_not_asked_twice() -> None:
    ray = FakeRay()
    made = seat(ray)
    made.occupy()
    ray.answer = GetTimeoutError()
    for _ in range(3):
        with pytest.raises(Silent):
            made.claim()
    ray.answer = ProcessStatus("a", 1)
    assert made.claim() == ProcessStatus("a", 1)
    assert ray.asked == [("claim",)]


def test_a_seat_that_is_vacated_ends_its_actor() -> None:
    ray = FakeRay()
    made = seat(ray)
    made.occupy()
    made.vacate()
    assert ray.ended[-1] == made.name
    with pytest.raises(Gone):
        made.stop(1)
