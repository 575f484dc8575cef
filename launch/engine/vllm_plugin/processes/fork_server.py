"""Core and workers of an engine on a CPU are forked from one process that has imported vLLM.

vLLM 0.32 forces `spawn` there, so that server, core and worker each import the whole package, one after the
other. Here the server forks a process once it has imported it, before it has a port or threads of Python's,
and multiprocessing's fork server runs in that. What is to be spawned is forked there, with the environment
and the threads that it would have had (`forked`); what cannot be so is spawned as ever.
"""

from __future__ import annotations

import importlib
import logging
import multiprocessing
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from multiprocessing import context, forkserver, popen_forkserver, popen_spawn_posix, resource_tracker
from multiprocessing.popen_fork import Popen
from multiprocessing.process import BaseProcess
from tempfile import TemporaryDirectory
from typing import Any

from launch.engine.vllm_plugin.processes.forked import bind, differing, enter

SWITCH = "LORA_GATEWAY_FORK"
"""With `0` all are spawned."""
MAIN = "vllm.entrypoints.openai.api_server"
PLUGINS = "vllm.plugins"
PRELOADED = ("vllm.v1.engine.core", "vllm.v1.executor.multiproc_executor")  # no worker: it patches torch
TITLE = "VLLM::ForkServer"
TRIAL_S = 60  # after it a trial that hangs has failed
UNKNOWN = (3, 14)
"""From this Python on a fork server wants a key of those that ask."""

log = logging.getLogger("vllm.lora_gateway")


def begin(main: str = MAIN, preloaded: Sequence[str] = PRELOADED) -> None:
    """In the server alone, whose module is `main`: from now on what it spawns, and they, is forked."""
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    if os.environ.get(SWITCH) == "0" or getattr(spec, "name", "") != main or multiprocessing.parent_process():
        return
    known = hasattr(sys.modules.get(PLUGINS), "plugins_loaded") and sys.version_info < UNKNOWN
    try:
        if known and threading.active_count() == 1:
            _begin(preloaded)
        else:
            log.warning("each process of the engine imports it anew: this vLLM begins in another way")
    except OSError as error:
        log.warning("each process of the engine imports it anew: there is no fork server (%s)", error)


def _begin(preloaded: Sequence[str]) -> None:
    server: Any = forkserver._forkserver
    spawned: Any = context.SpawnProcess
    resource_tracker.ensure_running()
    with socket.socket(socket.AF_UNIX) as listener:
        address = _listening(listener)

        def ensure_running() -> None:
            """And never another fork server."""
            resource_tracker.ensure_running()
            server._forkserver_address = address  # in what is forked the name stands that is gone

        server.ensure_running = ensure_running
        alive, server._forkserver_alive_fd = os.pipe()
        spawned._Popen = staticmethod(_popen(dict(os.environ)))
        if not os.fork():
            os.close(server._forkserver_alive_fd)  # it ends once nobody holds this, itself included
            _serve(listener, alive, preloaded)
        os.close(alive)


def _listening(listener: socket.socket) -> str:
    """Where this process, and those that are forked from it, reach it. No file is left to be removed: after
    a SIGKILL to all of an engine nobody would.
    """
    with TemporaryDirectory() as folder:
        listener.bind(f"{folder}/fork_server")
        listener.listen()
        return f"/proc/self/fd/{os.open(listener.getsockname(), os.O_PATH)}"


def _serve(listener: socket.socket, alive: int, preloaded: Sequence[str]) -> None:
    """Until nobody is left who could ask; never returns."""
    try:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # it is to tell how those that it forked have ended
        plugins: Any = sys.modules[PLUGINS]
        plugins.plugins_loaded = False  # each that is forked loads them for itself
        for name in preloaded:
            with suppress(ImportError):
                importlib.import_module(name)
        with suppress(ImportError):
            importlib.import_module("setproctitle").setproctitle(TITLE)
        if _computes():
            forkserver.main(listener.detach(), alive, [])
    finally:
        os._exit(0)


def _computes() -> bool:
    """Whether threads of a forked process compute; they would hang if the server's had done so already."""
    pid = os.fork()
    if not pid:
        signal.alarm(TRIAL_S)
        try:
            bind(sorted(os.sched_getaffinity(0)))
            os._exit(0)
        finally:
            os._exit(1)
    return os.waitpid(pid, 0)[1] == 0


def _popen(imported: Mapping[str, str]) -> Callable[[BaseProcess], Popen]:
    """What starts a process where `imported` is the environment that vLLM was imported in."""

    def popen(process: BaseProcess) -> Popen:
        why = ", ".join(differing(imported, os.environ))
        if not why:
            try:
                return _Forked(process)
            except (OSError, EOFError) as error:
                why = f"the fork server is gone ({error})"
        log.warning("%s imports the engine anew: %s", process.name, why)
        return popen_spawn_posix.Popen(process)

    return popen


class _Forked(popen_forkserver.Popen):
    def _launch(self, process_obj: BaseProcess) -> None:
        launch: Any = super()._launch  # type: ignore[misc]
        launch(_Entrance(process_obj))


class _Entrance:
    """A process on its way: where it arrives, `enter` is called before anything of it is read."""

    def __init__(self, process: BaseProcess) -> None:
        self._process = process
        self._name = process.name

    def __reduce__(self) -> tuple[object, ...]:
        return enter, (type(self._process), dict(os.environ)), self._process.__dict__
