"""A real Ray cluster on this machine: nodes that are processes here, on loopback, with a processor each."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

OBJECT_STORE_BYTES = 80 * 1024 * 1024
HEAD = "127.0.0.2"
OTHER = "127.0.0.3"
"""Both loopback, and told apart as two machines are; for 127.0.0.1 Ray would take the outer address."""


class Nodes:
    """The head, which is never ended, and the others by the order in which they came."""

    def __init__(self, cluster: Any) -> None:
        self._cluster = cluster
        self.others: list[Any] = []

    @property
    def address(self) -> str:
        return str(self._cluster.address)

    def add(self) -> None:
        """One more, with room for one engine."""
        self.others.append(self._cluster.add_node(num_cpus=1, **_of_each(OTHER)))

    def kill(self) -> None:
        """SIGKILL to all processes of the node that was there first, engines and all."""
        self._cluster.remove_node(self.others.pop(0), allow_graceful=False)


@contextmanager
def nodes(count: int = 2) -> Iterator[Nodes]:
    """A cluster of so many nodes, the head among them."""
    from ray.cluster_utils import Cluster

    scratch = Path(tempfile.mkdtemp(prefix="ray-", dir="/tmp"))  # sockets' paths are short
    cluster = Cluster(
        initialize_head=True,
        connect=False,
        head_node_args={
            "num_cpus": 1,
            "include_dashboard": False,
            "temp_dir": str(scratch),
            **_of_each(HEAD),
        },
    )
    made = Nodes(cluster)
    try:
        for _ in range(count - 1):
            made.add()
        yield made
    finally:
        cluster.shutdown()
        shutil.rmtree(scratch, ignore_errors=True)


def _of_each(address: str) -> dict[str, Any]:
    return {"object_store_memory": OBJECT_STORE_BYTES, "node_ip_address": address}
