"""Processes of an engine are forked from one that has imported it: real ones, of a package that is cheap."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from launch.engine.vllm_plugin.processes.fork_server import SWITCH
from launch.engine.vllm_plugin.processes.forked import READ_ONCE
from tests.support.process_ends import wait_for_end, watched

TORCH = """
threads = 0
def set_num_threads(count):
    global threads
    threads = count
class zeros:
    def __init__(self, count): pass
    def add_(self, other): pass
"""
SERVER = """
import json, multiprocessing, os, signal, sys
import preloaded, torch, vllm.plugins
from launch.engine.vllm_plugin.processes import fork_server
from launch.engine.vllm_plugin.processes.parent import end_with_parent

def facts(name):
    print(json.dumps({
        "name": name, "pid": os.getpid(), "imported": preloaded.PID, "preloaded": "late" in sys.modules,
        "above": multiprocessing.parent_process().pid, "said": os.environ.get("SAID"),
        "threads": torch.threads, "processors": sorted(os.sched_getaffinity(0)),
        "plugins_loaded": vllm.plugins.plugins_loaded,
        "heeds": signal.getsignal(signal.SIGTERM) == signal.SIG_DFL,
    }), flush=True)

class Config:
    def __init__(self):
        self.said = None
    def __setstate__(self, state):
        self.said = os.environ.get("SAID")

def worker(config):
    end_with_parent()
    assert config.said == "to the worker"
    facts("worker")
    signal.pause()

def core(variables):
    end_with_parent()
    facts("core")
    os.environ.update(variables)
    multiprocessing.get_context("spawn").Process(target=worker, args=(Config(),), daemon=True).start()
    signal.pause()

def main():
    assert vllm.plugins.plugins_loaded
    fork_server.begin("server", ("late", "nowhere"))
    for line in sys.stdin:
        what, *rest = json.loads(line)
        if what == "core":
            made = multiprocessing.get_context("spawn").Process(target=core, args=rest)
            made.start()
        elif what == "end":
            made.terminate()
            made.join()
            print(json.dumps({"code": made.exitcode}), flush=True)

if __name__ == "__main__":
    main()
"""
Facts = dict[str, Any]
LAST = max(os.sched_getaffinity(0))
WORKERS = {"SAID": "to the worker", "GOMP_CPU_AFFINITY": str(LAST), "OMP_NUM_THREADS": "1"}


OUTSIDE = {name: value for name, value in os.environ.items() if not name.startswith(READ_ONCE)}


class Server:
    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process

    def ask(self, *what: object) -> None:
        assert self.process.stdin is not None
        print(json.dumps(what), file=self.process.stdin, flush=True)

    def told(self) -> Facts:
        assert self.process.stdout is not None
        told: Facts = json.loads(self.process.stdout.readline())
        return told

    def children(self) -> list[int]:
        pid = self.process.pid
        return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@contextmanager
def server(folder: Path, **env: str) -> Iterator[Server]:
    for name, text in {
        "vllm/__init__.py": "",
        "vllm/plugins.py": "plugins_loaded = True",
        "preloaded.py": "import os\nPID = os.getpid()",
        "late.py": "",
        "torch.py": TORCH,
        "server.py": SERVER,
    }.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    started = subprocess.Popen(
        [sys.executable, "-m", "server"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={
            **OUTSIDE,
            "PYTHONPATH": f"{folder}:{Path(__file__).parents[6]}",
            "SAID": "",
            "TMPDIR": str(folder),
            **env,
        },
    )
    with started:
        try:
            yield Server(started)
        finally:
            started.kill()


def test_core_and_worker_come_from_one_import_each_as_if_it_had_been_spawned(tmp_path: Path) -> None:
    with server(tmp_path) as one:
        one.ask("core", WORKERS)
        core, worker = one.told(), one.told()
        pid = one.process.pid
        assert core["imported"] == worker["imported"] == pid
        assert core["preloaded"]
        assert worker["preloaded"]
        assert (core["above"], worker["above"]) == (pid, core["pid"])
        assert (core["said"], worker["said"]) == ("", "to the worker")
        assert core["processors"] == sorted(os.sched_getaffinity(0))
        assert (worker["processors"], worker["threads"]) == ([LAST], 1)
        assert not core["plugins_loaded"]
        assert not worker["plugins_loaded"]
        assert core["heeds"]
        assert worker["heeds"]
        one.ask("end")
        assert one.told() == {"code": -signal.SIGTERM}


@pytest.mark.parametrize("all_at_once", [False, True])
def test_all_end_with_the_server_and_leave_no_file_however_that_was_ended(
    tmp_path: Path, all_at_once: bool
) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    with server(tmp_path, TMPDIR=str(scratch)) as one:
        one.ask("core", WORKERS)
        pids = [one.told()["pid"], one.told()["pid"], *one.children()]
        with watched(pids) as ends:
            for pid in pids if all_at_once else ():
                os.kill(pid, signal.SIGKILL)
            one.process.kill()
            wait_for_end(ends, 20)
        assert not list(scratch.iterdir())


def test_the_switch_has_all_spawned(tmp_path: Path) -> None:
    with server(tmp_path, **{SWITCH: "0"}) as one:
        one.ask("core", WORKERS)
        for told in (one.told(), one.told()):
            assert told["imported"] == told["pid"]


def test_what_cannot_be_followed_is_spawned(tmp_path: Path) -> None:
    with server(tmp_path) as one:
        one.ask("core", {**WORKERS, "KMP_AFFINITY": "compact"})
        core, worker = one.told(), one.told()
        assert core["imported"] == one.process.pid
        assert worker["imported"] == worker["pid"]
        assert (worker["above"], worker["said"]) == (core["pid"], "to the worker")


def test_a_fork_server_that_was_killed_is_done_without(tmp_path: Path) -> None:
    with server(tmp_path) as one:
        one.ask("core", WORKERS)
        core = one.told()
        one.told()
        forking = int(Path(f"/proc/{core['pid']}/stat").read_text().rpartition(")")[2].split()[1])
        assert forking in one.children()
        with watched([forking]) as ends:
            os.kill(forking, signal.SIGKILL)
            wait_for_end(ends, 20)
        one.ask("core", WORKERS)
        again = one.told()
        assert again["imported"] == again["pid"]


def test_without_a_place_for_its_socket_all_are_spawned(tmp_path: Path) -> None:
    far = tmp_path / ("far" * 40)
    far.mkdir()
    with server(tmp_path, TMPDIR=str(far)) as one:
        one.ask("core", WORKERS)
        core = one.told()
        assert core["imported"] == core["pid"]
        one.told()
