"""What a gateway says when it begins to listen, whoever hears it, and its end."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

from gateway.__main__ import MOST_NAMED, _announce
from gateway.config.document import Config
from tests.fakes.plant import free_port
from tests.support.stack import config_of, write_report
from tests.support.waiting import CLIENT_S, until


def test_of_very_many_models_some_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tasks = {f"task-{number}": {"adapter": str(tmp_path)} for number in range(MOST_NAMED + 8)}
    config = Config.model_validate({"base": {"model": "some/model", "name": "base"}, "tasks": tasks})
    with socket.create_server(("127.0.0.1", 0)) as listener:
        _announce(config, listener)
    said = capsys.readouterr().err
    assert "(base, task-0, task-1, " in said
    assert f"task-{MOST_NAMED - 2} and 9 more; no keys in the configuration)" in said


def command_of(folder: Path, config: Config, port: int) -> list[str]:
    """A gateway on that configuration, with its state in the folder."""
    file = folder / "config.json"
    file.write_text(json.dumps(config.model_dump(mode="json", by_alias=True)))
    where = ["--config", str(file), "--state-dir", str(folder), "--port", str(port)]
    return [sys.executable, "-m", "gateway", *where]


STANDS_STILL = """
import atexit, sys, threading
atexit.register(threading.Event().wait)
print("LiteLLM is being imported", file=sys.stderr, flush=True)
threading.Event().wait()
"""


def test_what_litellm_does_at_an_exit_and_its_import_keep_nobody(tmp_path: Path) -> None:
    (tmp_path / "litellm.py").write_text(STANDS_STILL)
    config = config_of(tmp_path, fallback={"model": "openai/other", "when": ["failed"]})
    write_report(config, url="http://127.0.0.1:9", state="ready", started_at=1.0)
    env = os.environ | {"PYTHONPATH": str(tmp_path)}
    command = command_of(tmp_path, config, 0)
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=env) as gateway:
        try:
            assert gateway.stderr is not None
            said = ""
            while not ("listening on" in said and "is being imported" in said):
                line = gateway.stderr.readline()
                assert line, said
                said += line
            gateway.send_signal(signal.SIGTERM)
            rest = gateway.communicate(timeout=CLIENT_S)[1]
        finally:
            gateway.kill()
    assert gateway.returncode == 0
    assert rest.splitlines()[-1] == "gateway: stopped"


def answers(port: int) -> bool:
    with suppress(httpx.TransportError):
        return httpx.get(f"http://127.0.0.1:{port}/health", timeout=CLIENT_S).is_success
    return False


@pytest.mark.parametrize("closed", ["<&- >&- 2>&-", ""])
def test_it_serves_though_nobody_hears_it(tmp_path: Path, closed: str) -> None:
    """Its standard streams are closed, or whoever read them is gone."""
    port, heard_by = free_port(), os.pipe()
    os.close(heard_by[0])
    command = ["sh", "-c", f'exec "$@" {closed}', "sh", *command_of(tmp_path, config_of(tmp_path), port)]
    with subprocess.Popen(command, stdout=heard_by[1], stderr=heard_by[1]) as gateway:
        os.close(heard_by[1])
        try:
            until(lambda: gateway.poll() is not None or answers(port), CLIENT_S)
            streams = [os.readlink(f"/proc/{gateway.pid}/fd/{number}") for number in range(3)]
            assert not closed or streams == [os.devnull] * 3
            gateway.send_signal(signal.SIGTERM)
            assert gateway.wait(CLIENT_S) == 0
        finally:
            gateway.kill()
