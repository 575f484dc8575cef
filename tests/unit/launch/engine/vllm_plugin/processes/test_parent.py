"""A process of the engine's ends with the one that made it, in real ones; the first has none."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from launch.engine.vllm_plugin.processes.parent import NAME, end_with_parent
from tests.support.process_ends import wait_for_end, watched

PROGRAM = """
import multiprocessing, os, signal, sys
from launch.engine.vllm_plugin.processes.parent import end_with_parent

def core(late, deaf, there):
    if deaf:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if late:
        there.send(os.getpid())
        multiprocessing.parent_process().join()
    end_with_parent()
    end_with_parent()
    if not late:
        there.send(os.getpid())
    while True:
        signal.pause()

if __name__ == "__main__":
    way, late, deaf = sys.argv[1:]
    context = multiprocessing.get_context(way)
    here, there = context.Pipe(duplex=False)
    made = context.Process(target=core, args=(late == "late", deaf == "deaf", there))
    made.start()
    print(here.recv(), flush=True)
    signal.pause()
"""


@pytest.mark.parametrize("way", ["spawn", "fork"])
@pytest.mark.parametrize("when", ["early", "late"])
@pytest.mark.parametrize("hears", ["heeds", "deaf"])
def test_a_core_ends_with_its_server_however_that_was_ended(
    tmp_path: Path, way: str, when: str, hears: str
) -> None:
    program = tmp_path / "server.py"
    program.write_text(PROGRAM)
    root = Path(__file__).parents[6]
    server = subprocess.Popen(
        [sys.executable, str(program), way, when, hears],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(root)},
    )
    with server:
        assert server.stdout is not None
        with watched([int(server.stdout.readline())]) as ends:
            server.kill()
            wait_for_end(ends, 20)


def test_a_first_process_follows_nobody() -> None:
    end_with_parent()
    assert NAME not in {one.name for one in threading.enumerate()}
