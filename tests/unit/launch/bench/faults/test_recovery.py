"""`lora-gateway up` with each of its programs killed in turn, under load: real processes, a fake vLLM."""

from __future__ import annotations

import re
from pathlib import Path

from launch.bench.engine.config import HOST, KEY
from launch.bench.engine.stack import fail_if_ended
from launch.bench.faults.recovery import running_up, wait_until_ready
from launch.bench.faults.recovery_kills import Patient, SteadyLoad, program_under
from tests.fakes.fake_stack import fake_config

LIMIT_S = 60.0


def test_killed_programs_come_back_and_the_others_go_on(tmp_path: Path) -> None:
    config = fake_config(tmp_path)
    url = f"http://{HOST}:{config.gateway.port}"
    with running_up(config, tmp_path) as up:
        with SteadyLoad(url, KEY, "naming", clients=2) as load:
            patient = Patient(up.pid, config.state_dir, load, lambda: fail_if_ended([up]))
            wait_until_ready(patient, load, up, LIMIT_S)
            gateway = patient.kill("gateway", LIMIT_S)
            engine = patient.kill("engine", LIMIT_S)
            supervisor = patient.kill("supervisor", LIMIT_S)
        said = (tmp_path / "up.log").read_text()  # why another ended, where one did
        for one in (gateway, engine, supervisor):
            assert one.undisturbed, f"{one}\n{said}"
            assert one.answered_s < 20, one
            assert set(one.failed) <= {"none", "502", "503"}, one
            assert "none" not in one.retry_after, one
        assert set(gateway.failed) == {"none"}
        assert gateway.gone_s is None
        assert "none" not in engine.failed
        assert supervisor.gone_s is not None
        assert supervisor.gone_s < 10
        up.stop(LIMIT_S)
        assert up.exit_code() == 0
        assert not program_under(up.pid, "launch")
    lines = (tmp_path / "up.log").read_text().splitlines()
    assert lines.index("gateway: stopped") < lines.index("engine: stopping")
    restarts = [line for line in lines if line.startswith("up: ")]
    assert [re.sub(r" in .*", "", line) for line in restarts] == [
        "up: gateway was ended by SIGKILL; it starts again",
        "up: launch was ended by SIGKILL; it starts again",
    ]
