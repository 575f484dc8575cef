"""What a gateway says when it begins to listen, and its end."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.__main__ import MOST_NAMED, _announce
from gateway.config.document import Config
from tests.support.stack import config_of, write_report
from tests.support.waiting import CLIENT_S


def test_of_very_many_models_some_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tasks = {f"task-{number}": {"adapter": str(tmp_path)} for number in range(MOST_NAMED + 8)}
    config = Config.model_validate({"base": {"model": "some/model", "name": "base"}, "tasks": tasks})
    with socket.create_server(("127.0.0.1", 0)) as listener:
        _announce(config, listener)
    said = capsys.readouterr().err
    assert "(base, task-0, task-1, " in said
    assert f"task-{MOST_NAMED - 2} and 9 more; no keys in the configuration)" in said


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
    file = tmp_path / "config.json"
    file.write_text(json.dumps(config.model_dump(mode="json", by_alias=True)))
    command = [sys.executable, "-m", "gateway", "--config", str(file), "--state-dir", str(tmp_path)]
    env = os.environ | {"PYTHONPATH": str(tmp_path)}
    with subprocess.Popen([*command, "--port", "0"], stderr=subprocess.PIPE, text=True, env=env) as gateway:
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
