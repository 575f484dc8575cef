"""A process of vLLM's ends when the one that made it is gone, however that ended.

vLLM 0.32 ties its workers to the engine core by a pipe, and the core to nobody: where the server alone is
killed (by hand, for want of memory, or by Ray, which ends an actor's own children), the core and its workers
keep the card. What tells of the parent's end is multiprocessing's own pipe. The kernel's signal would come
with the end of the thread that forked, and to one that has begun too late not at all.

It is SIGKILL: nobody waits for anything that such a process has. After SIGTERM a worker was seen to hang as
Python ended, where no thread can do anything about it any more.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from multiprocessing.process import BaseProcess

NAME = "lora-gateway: ends with its parent"


def end_with_parent() -> None:
    """From now on; at once where the parent is gone already. Idempotent, and nothing in a first process."""
    parent = multiprocessing.parent_process()
    if parent is None or any(one.name == NAME for one in threading.enumerate()):
        return
    threading.Thread(target=_follow, args=(parent,), name=NAME, daemon=True).start()


def _follow(parent: BaseProcess) -> None:
    parent.join()
    os.kill(os.getpid(), signal.SIGKILL)
