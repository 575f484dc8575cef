"""A real Ray cluster on this machine: nodes that are processes here, on loopback, with a processor each.

`python -m tests.scale.nodes` is the program that has them, told by lines what to do: Ray takes signals and
the main thread for itself, which a test needs. It prints the cluster's address, then what it has done.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

OBJECT_STORE_BYTES = 80 * 1024 * 1024
HEAD = "127.0.0.2"
OTHER = "127.0.0.3"
"""Both loopback, and told apart as two machines are; for 127.0.0.1 Ray would take the outer address."""
PLACE = "other"
"""A resource that the nodes beside the head have."""
ROOT = Path(__file__).parents[2]


class Nodes:
    """The head, which is never ended, and another, which may be."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self.address = self._heard()

    def add(self) -> None:
        """One more, with room for one engine; it is there then."""
        self._tell("add")

    def kill(self) -> None:
        """SIGKILL to all processes of the node that was added first, its engine with them."""
        self._tell("kill")

    def _tell(self, what: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{what}\n")
        self._process.stdin.flush()
        assert self._heard() == what

    def _heard(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()


@contextmanager
def nodes() -> Iterator[Nodes]:
    """A cluster of two nodes."""
    scratch = Path(tempfile.mkdtemp(prefix="ray-", dir="/tmp"))  # sockets' paths are short
    # Ray notes the cluster's address in its default folder, which is nowhere before its first start.
    argv = [sys.executable, "-m", "tests.scale.nodes", str(scratch / "ray")]
    env = {**os.environ, "RAY_TMPDIR": str(scratch)}
    with (scratch / "nodes.log").open("w") as log:
        process = subprocess.Popen(
            argv, cwd=ROOT, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True
        )
    try:
        made = Nodes(process)
        made.add()
        yield made
    finally:
        process.communicate()  # the end of its input is its end
        shutil.rmtree(scratch, ignore_errors=True)


def _run(scratch: str) -> None:
    from ray.cluster_utils import Cluster

    head = {
        "num_cpus": 1,
        "include_dashboard": False,
        "no_monitor": True,
        "temp_dir": scratch,
        **_of_each(HEAD),
    }
    cluster = Cluster(initialize_head=True, connect=False, head_node_args=head)
    print(cluster.address, flush=True)
    others: list[Any] = []
    for line in sys.stdin:
        what = line.strip()
        if what == "add":
            others.append(cluster.add_node(num_cpus=1, resources={PLACE: 1}, **_of_each(OTHER)))
        else:
            cluster.remove_node(others.pop(0), allow_graceful=False)
        print(what, flush=True)
    cluster.shutdown()


def _of_each(address: str) -> dict[str, Any]:
    """Without what nobody reads here: of a node's programs Ray waits 30 s, on a busy machine too."""
    return {
        "object_store_memory": OBJECT_STORE_BYTES,
        "node_ip_address": address,
        "include_log_monitor": False,
    }


if __name__ == "__main__":
    _run(sys.argv[1])
