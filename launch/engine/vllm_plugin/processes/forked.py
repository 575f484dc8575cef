"""A forked process of an engine gets the environment and the threads that it would have if it were spawned.

Libraries read some variables once, as they are loaded, and in a forked process they are loaded already. What
vLLM 0.32 changes of these for a CPU is done by hand here; of others it is said that it cannot be.
"""

from __future__ import annotations

import importlib
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

BINDINGS = ("GOMP_CPU_AFFINITY", "OMP_PLACES")
COUNT = "OMP_NUM_THREADS"
COMPILING = "TORCHINDUCTOR_COMPILE_THREADS"
DYNAMIC = "TORCHINDUCTOR_CPP_DYNAMIC_THREADS"
LIBRARIES = "LD_PRELOAD"
READ_ONCE = ("OMP_", "GOMP_", "KMP_", "MKL_", "DNNL_", "ONEDNN_", "OPENBLAS_", "ATEN_", "TORCH", "LD_")
"""How the names begin of what libraries read as they are loaded."""
FOLLOWED = {*BINDINGS, COUNT, "OMP_PROC_BIND", COMPILING, DYNAMIC, LIBRARIES}
"""Those of them that a forked process is made to go by."""
INDUCTOR = "torch._inductor.config"
TASKS = "/proc/self/task"


def differing(imported: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """The variables for which a process must be started under `now`, and not forked from `imported`."""
    changed = {name for name in {*imported, *now} if imported.get(name) != now.get(name)}
    found = {name for name in changed - FOLLOWED if name.startswith(READ_ONCE)}
    maps = Path("/proc/self/maps").read_text()
    if LIBRARIES in changed and any(one not in maps for one in _preloaded(now)):
        found.add(LIBRARIES)
    if not changed.isdisjoint(BINDINGS):
        try:
            places(now)
        except ValueError:
            found.update(BINDINGS)
    return sorted(found)


def _preloaded(environment: Mapping[str, str]) -> list[str]:
    """The libraries to be loaded before all others, as a process's maps name them: where a path leads to."""
    given = environment.get(LIBRARIES, "").replace(" ", ":").split(":")
    return [os.path.realpath(one) if "/" in one else one for one in given]


def places(environment: Mapping[str, str]) -> list[int]:
    """The processors of OpenMP's threads, as vLLM writes them. Raises ValueError where somebody else did."""
    given = next((environment[name] for name in BINDINGS if name in environment), "")
    return [int(one) for one in given.strip("{}").replace(",", " ").split()]


def enter(kind: type[BaseProcess], environment: Mapping[str, str]) -> BaseProcess:
    """Make this process as one started under `environment`, which does not differ; an empty one of `kind`."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # the fork server ignores it
    changed = {*(environment.items() ^ os.environ.items())}
    for name in {*os.environ} - {*environment}:
        del os.environ[name]
    # No others: `setproctitle` finds its place by those that the process began with.
    os.environ.update(environment.items() & changed)
    names = {name for name, _ in changed}
    inductor: Any = sys.modules.get(INDUCTOR)
    if inductor is not None:
        inductor.compile_threads = int(environment.get(COMPILING, inductor.compile_threads))
        inductor.cpp.dynamic_threads = environment.get(DYNAMIC) == "1"
    if not names.isdisjoint(BINDINGS) and places(environment):
        bind(places(environment))
    elif COUNT in names & {*environment}:
        importlib.import_module("torch").set_num_threads(int(environment[COUNT]))
    return kind.__new__(kind)


def bind(processors: Sequence[int]) -> None:
    """A thread of OpenMP's on each, this one on the first, as `GOMP_CPU_AFFINITY` has it of libgomp."""
    torch = importlib.import_module("torch")
    torch.set_num_threads(len(processors))
    there = {*os.listdir(TASKS)}
    torch.zeros(len(processors) << 17).add_(1)  # the first sum that is shared out begins them
    begun = sorted({*os.listdir(TASKS)} - there, key=int)  # in the order in which they were begun
    for task, processor in zip(begun, processors[1:], strict=False):
        with suppress(ProcessLookupError):
            os.sched_setaffinity(int(task), {processor})
    os.sched_setaffinity(0, {processors[0]})
