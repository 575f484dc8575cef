"""Where processes share their cores, one that waits for another one's message sleeps until it is there.

vLLM 0.32 reads its queues in shared memory in a loop for a second after each message. So on a CPU the engine
core takes a processor for as long as the worker computes a step. A worker with a core fewer is quicker that
way (by a sixth with eight requests on two cores); where a step is made on that processor, its own worker's or
another engine's, all are slower. Each message is told through a socket as well, which is
what vLLM itself sleeps on once nothing has come for a second. That socket holds one notice and drops what
follows at once, so that whoever sleeps looks for himself each millisecond.
"""

from __future__ import annotations

import time
from types import ModuleType
from typing import Any

SHARED_CORES = "LORA_GATEWAY_SHARED_CORES"
"""Set to 1 in the environment of an engine that has others of the same launch beside it, or uses all."""
MODULE = "vllm.distributed.device_communicators.shm_broadcast"
CLASS = "SpinCondition"
LOOK_MS = 1
_MENDED = "sleeps_between_looks"


def sleep_between_looks(module: ModuleType) -> bool:
    """Have the queues that are made from now on wait so; whether vLLM has them as they are known."""
    condition = getattr(module, CLASS, None)
    if not hasattr(condition, "wait") or not hasattr(module, "zmq"):
        return False
    if not hasattr(condition, _MENDED):
        setattr(module, CLASS, _sleeping(condition, module.zmq.NOBLOCK))
    return True


def _sleeping(condition: Any, at_once: int) -> type:
    def wait(self: Any, timeout_ms: int | None = None) -> None:
        if time.monotonic() > self.last_read + self.busy_loop_s:
            condition.wait(self, timeout_ms)
        elif self.local_notify_socket in dict(self.poller.poll(LOOK_MS)):
            self.local_notify_socket.recv(flags=at_once, copy=False)  # else each look would end at once

    return type(condition.__name__, (condition,), {"wait": wait, _MENDED: True})
