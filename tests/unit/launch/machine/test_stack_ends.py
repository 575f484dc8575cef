"""How a stack of real processes ends: by hand, in a hurry, and where its engine cannot be had."""

from __future__ import annotations

import io
import json
import os
import signal
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

from gateway.config.snapshot import FILE, read_snapshot
from launch.bench.engine.config import HOST, KEY, write_config
from launch.bench.engine.stack import fail_if_ended
from launch.bench.faults.recovery import running_up, wait_until_ready
from launch.bench.faults.recovery_kills import Patient, SteadyLoad, is_alive
from launch.machine.child import Child
from tests.fakes.fake_stack import fake_config
from tests.support.waiting import until

LIMIT_S = 60.0


def drains(url: str) -> bool:
    """No longer ready; before that the question waits for the engine, which hangs."""
    try:
        urllib.request.urlopen(f"{url}/ready", timeout=1).close()
    except urllib.error.HTTPError as error:
        error.close()
        return error.code == 503
    except TimeoutError:
        pass
    return False


def test_second_interrupt_hurries_a_gateway_that_drains(tmp_path: Path) -> None:
    config = fake_config(tmp_path, drain_s=50)
    url = f"http://{HOST}:{config.gateway.port}"
    with running_up(config, tmp_path) as up, SteadyLoad(url, KEY, "naming", clients=1) as load:
        patient = Patient(up.pid, config.state_dir, load, lambda: fail_if_ended([up]))
        wait_until_ready(patient, load, up, LIMIT_S)
        processes, engine = patient.processes(), patient.engine()
        assert engine is not None
        hang = urllib.request.Request(f"{engine.url}/fake", b'{"hang": true}')
        urllib.request.urlopen(hang, timeout=5).close()
        until(lambda: in_flight(url) > 0)
        up.signal(signal.SIGINT)
        until(lambda: drains(url))
        assert up.exit_code() is None
        assert is_alive(processes.gateway)  # it waits for the request that it accepted
        assert is_alive(processes.engine)
        began = time.monotonic()
        up.signal(signal.SIGINT)
        until(lambda: up.exit_code() is not None)
        assert time.monotonic() - began < 20
        assert up.exit_code() == 0
        assert not any(map(is_alive, (processes.engine, processes.supervisor, processes.gateway)))


def test_hang_up_is_no_end_but_reloads(tmp_path: Path) -> None:
    config = fake_config(tmp_path)
    url, log = f"http://{HOST}:{config.gateway.port}", tmp_path / "up.log"
    with running_up(config, tmp_path) as up, SteadyLoad(url, KEY, "naming", clients=1) as load:
        patient = Patient(up.pid, config.state_dir, load, lambda: fail_if_ended([up]))
        wait_until_ready(patient, load, up, LIMIT_S)
        before = patient.processes()
        up.signal(signal.SIGHUP)
        until(lambda: "engine: configuration reloaded" in log.read_text())
        assert patient.processes() == before


def in_flight(url: str) -> int:
    with urllib.request.urlopen(f"{url}/health", timeout=5) as answer:
        return int(json.load(answer)["in_flight"])


def test_demo_ends_where_the_engine_is_given_up(tmp_path: Path) -> None:
    config = fake_config(tmp_path, ["--fail", "it is broken"], max_restarts=1)
    write_config(config, tmp_path / "config.yaml", KEY)
    (tmp_path / "clusters.jsonl").write_text('{"id": "a", "terms": ["x"]}\n')
    out = io.StringIO()
    argv = [sys.executable, "-m", "launch.cli.main", "demo", "--config", str(tmp_path / "config.yaml")]
    demo = Child(argv, os.environ, out=out)
    until(lambda: demo.exit_code() is not None)
    demo.stop(0)
    assert demo.exit_code() == 1
    lines = out.getvalue().splitlines()
    see = "see docs/troubleshooting.md#engine_failed"
    assert f"error: the engine died: exit code 1: it is broken ({see})" in lines
    assert f"engine: {see}" in lines
    given_up = "engine: failed (start): the engine died: exit code 1: it is broken; it is not started again"
    # The gateway may be ended before it has come to say so itself; it is never said to stop first.
    assert "gateway: stopped" not in lines[: lines.index(given_up)]
    snapshot = read_snapshot(config.state_dir / "demo" / FILE)
    assert snapshot is not None
    assert snapshot.engines[0].restarts == 2
