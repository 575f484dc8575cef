"""A Ray cluster as it is used here: named actors, each in a placement group of its own."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import asdict
from typing import Any, Literal

from gateway.config.engine_settings import RayConfig
from gateway.errors import ConfigError, EngineFailure
from launch.engine.on_ray.node_engine import EngineOrder, NodeEngine, ProcessStatus, scratch_of
from launch.engine.on_ray.remote_engine import Gone, Silent
from launch.machine.threads import in_thread

OTHER_VERSIONS = "Version mismatch"
"""How Ray begins to say so."""
CONNECT_S = 60.0
"""Ray itself goes on for minutes where nobody answers."""
ANSWER_S = 5.0
COPY_S = 120.0
STOP_S = 20.0
"""Beyond the time that the engine itself has to end."""


class _Actor(NodeEngine):
    def __init__(self, order: EngineOrder) -> None:
        import ray

        scratch = scratch_of(ray.get_runtime_context().namespace, order.name)
        super().__init__(order, ray.util.get_node_ip_address(), scratch)


class ClusterAway(ConfigError):
    """No cluster answers there: its address may be wrong, or its head is yet to come."""


async def connected(settings: RayConfig, namespace: str) -> RayCluster:
    """The connection, made in a thread, so that the event loop goes on meanwhile.

    Raises ConfigError as `RayCluster` does, ClusterAway where nobody has answered within `CONNECT_S`.
    """
    try:
        async with asyncio.timeout(CONNECT_S):
            return await in_thread(RayCluster, settings, namespace)
    except TimeoutError as error:  # Ray goes on in its thread, which holds nobody up
        why = ConnectionError(f"nobody has answered within {CONNECT_S:.0f} s")
        raise ClusterAway("engines.ray.address", settings.address, _mend_of(why)) from error


class RayCluster:
    """The connection. Raises ConfigError where Ray is not installed, ClusterAway where nobody answers."""

    def __init__(self, settings: RayConfig, namespace: str) -> None:
        """`namespace` is where the engines' names are, and no other launch's."""
        try:
            import ray
        except ImportError as error:
            mend = "needs Ray on this machine and on every node: pip install 'lora-gateway[ray]'"
            raise ConfigError("engines.backend", "ray", mend) from error
        self._namespace = namespace
        self._ray: Any = ray
        try:
            context = ray.init(
                address=settings.address,
                namespace=namespace,
                log_to_driver=False,
                configure_logging=False,
                ignore_reinit_error=True,  # a try that was given up may have come through since
            )
        except (ConnectionError, RuntimeError, ValueError) as error:
            kind = ClusterAway if isinstance(error, ConnectionError) else ConfigError
            raise kind("engines.ray.address", settings.address, _mend_of(error)) from error
        self.address: str = ray.util.get_node_ip_address()
        """This machine's own, as its node has it."""
        self.head: str = context.address_info["gcs_address"]

    def seat(self, order: EngineOrder, bundle: Mapping[str, float]) -> RaySeat:
        """For one engine; nothing is made before `occupy`."""
        return RaySeat(self._ray, self._namespace, order, bundle)

    def sweep(self, engines: Collection[str]) -> list[str]:
        """End what an earlier launch had beside these engines; the names of what was ended."""
        stale = [name for name in _names(self._ray) if name.partition(".")[0] not in engines]
        for name in stale:
            _end(self._ray, self._namespace, name)
        return stale

    def running(self, engines: Collection[str]) -> set[str]:
        """Those of the engines that an earlier launch left running, however many there are to be now."""
        return {name.partition(".")[0] for name in self._ray.util.list_named_actors()}.intersection(engines)

    def close(self) -> None:
        """What was not vacated goes on without us, and is found again by its name."""
        self._ray.shutdown()


class RaySeat:
    """An actor that outlives this process, and its engine with it; `max_restarts` has Ray start it again.

    Its name holds a digest of the order, so that one that was made otherwise is never taken for it. Calls are
    not repeated by Ray: whoever follows the actor asks again, and must hear that it is another one.
    """

    def __init__(self, ray: Any, namespace: str, order: EngineOrder, bundle: Mapping[str, float]) -> None:
        self._ray = ray
        self._namespace = namespace
        self._order = order
        self._bundle = dict(bundle)
        # Without the Python: each node has its own, and each control plane.
        told = {**asdict(order), "argv": order.argv[1:]}
        digest = hashlib.sha256(json.dumps([told, self._bundle], sort_keys=True).encode())
        self.name = f"{order.name}.{digest.hexdigest()[:12]}"
        self._actor: Any = None
        self._asked: dict[str, Any] = {}

    def occupy(self) -> None:
        ray = self._ray
        self._asked.clear()
        try:
            for name in _names(ray):  # an order of before: it holds what this one is to have
                if name.partition(".")[0] == self._order.name and name != self.name:
                    _end(ray, self._namespace, name)
            cpus, cards = self._bundle.get("CPU", 0), self._bundle.get("GPU", 0)
            others = {name: count for name, count in self._bundle.items() if name not in ("CPU", "GPU")}
            place = ray.util.scheduling_strategies.PlacementGroupSchedulingStrategy(
                placement_group=self._group(), placement_group_bundle_index=0
            )
            self._actor = (
                ray.remote(_Actor)
                .options(
                    name=self.name,
                    namespace=self._namespace,
                    get_if_exists=True,
                    lifetime="detached",
                    max_restarts=-1,
                    max_task_retries=0,
                    num_cpus=cpus,
                    num_gpus=cards,
                    resources=others,
                    scheduling_strategy=place,
                )
                .remote(self._order)
            )
        except ray.exceptions.RayError as error:
            raise Gone(_line(error)) from error

    def claim(self) -> ProcessStatus:
        sight: ProcessStatus = self._ask("claim", timeout_s=ANSWER_S)
        return sight

    def look(self, said: int) -> ProcessStatus:
        sight: ProcessStatus = self._ask("look", said, timeout_s=ANSWER_S)
        return sight

    def stop(self, timeout_s: float) -> None:
        self._ask("stop", timeout_s, timeout_s=timeout_s + STOP_S)

    def memory(self) -> tuple[int | None, Literal["", "gpu", "host"]]:
        held: tuple[int | None, Literal["", "gpu", "host"]] = self._ask("memory", timeout_s=COPY_S)
        return held

    def folder_of(self, path: str) -> str:
        return str(self._ask("folder_of", path, timeout_s=COPY_S))

    def begin_adapter(self, settings: bytes, size_bytes: int) -> None:
        self._ask("begin_adapter", settings, size_bytes, timeout_s=COPY_S)

    def write_adapter(self, data: bytes) -> None:
        self._ask("write_adapter", data, timeout_s=COPY_S)

    def end_adapter(self, adapter_id: str) -> str:
        return str(self._ask("end_adapter", adapter_id, timeout_s=COPY_S))

    def drop_adapter(self, adapter_id: str) -> None:
        self._ask("drop_adapter", adapter_id, timeout_s=COPY_S)

    def vacate(self) -> None:
        self._actor = None
        _end(self._ray, self._namespace, self.name)

    def _group(self) -> Any:
        return _group_of(self._ray, self.name) or self._ray.util.placement_group(
            [self._bundle], strategy="STRICT_PACK", name=self.name, lifetime="detached"
        )

    def _ask(self, method: str, *given: object, timeout_s: float) -> Any:
        """A question that has no answer yet is not asked again, but waited for once more."""
        errors = self._ray.exceptions
        if self._actor is None:
            raise Gone("its seat is not occupied")
        asked = self._asked.pop(method, None) or getattr(self._actor, method).remote(*given)
        try:
            return self._ray.get(asked, timeout=timeout_s)
        except errors.GetTimeoutError as error:
            if method in ("claim", "look"):
                self._asked[method] = asked
            raise Silent(f"{self.name} does not answer {method}") from error
        except errors.ActorUnavailableError as error:
            raise Gone(f"{self.name} cannot be reached") from error
        except errors.RayError as error:  # it has died for good, or raised an error of its own
            raise EngineFailure(f"{self.name}: {_line(error)}") from error


def _names(ray: Any) -> list[str]:
    """Of actors and of placement groups; a launch that was killed may have left one without the other."""
    groups = [one["name"] for one in ray.util.placement_group_table().values() if one["state"] != "REMOVED"]
    ours = [name for name in groups if _group_of(ray, name) is not None]
    return sorted({*ray.util.list_named_actors(), *ours})


def _group_of(ray: Any, name: str) -> Any:
    """The placement group of that name in our namespace: the cluster's table has everybody's."""
    with suppress(ValueError):
        return ray.util.get_placement_group(name) if name else None
    return None


def _end(ray: Any, namespace: str, name: str) -> None:
    """An actor and its placement group, whether they are there or not."""
    with suppress(ValueError, ray.exceptions.RayError):
        ray.kill(ray.get_actor(name, namespace=namespace), no_restart=True)
    with suppress(ray.exceptions.RayError):
        if (group := _group_of(ray, name)) is not None:
            ray.util.remove_placement_group(group)


def _mend_of(error: BaseException) -> str:
    if OTHER_VERSIONS in str(error):
        return f"the cluster has other versions: {_line(error)}; install the same here and on every node"
    return f"no cluster is reached from here ({_line(error)}); a node of it must run on this machine"


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:500]
