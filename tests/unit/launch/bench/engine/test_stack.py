"""A stack under test: awaited while it starts, ended whatever happens, and why it does not start."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TextIO

import msgspec
import pytest

from gateway.config.document import Config, load_config
from gateway.config.secrets.state_secrets import ENGINE_KEY
from gateway.config.snapshot import FILE, EngineStatus, Snapshot, TaskStatus, VersionStatus
from gateway.errors import ConfigError, EngineFailure
from launch.bench.engine.config import HOST, KEY, under_test
from launch.bench.engine.stack import post, running_stack
from launch.machine.child import Child
from tests.fakes.plant import free_port

DEMO = Path(__file__).parents[5] / "configs/demo/config.yaml"
PROGRAM = """#!{python} -ISu
import http.server, json, pathlib, signal, sys, time
program = sys.argv[sys.argv.index("-m") + 1]
config, state = (pathlib.Path(sys.argv[sys.argv.index(name) + 1]) for name in ("--config", "--state-dir"))

def end(*_):
    (state / (program + ".ended")).touch()
    sys.exit(0)

signal.signal(signal.SIGTERM, end)
if program == "launch":
    said = pathlib.Path({said!r})
    if not said.is_file():
        sys.exit("error: it has no adapter")
    (state / "{file}").write_bytes(said.read_bytes())
    signal.pause()

class Answering(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        ready = self.path == "/ready"
        self.send_response(200 if ready else 404)
        self.send_header("content-length", "0")
        self.end_headers()

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        self.send_response(200)
        answer = self.headers["authorization"].encode() + body
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

port = json.loads(config.read_text())["gateway"]["port"]
http.server.HTTPServer(("{host}", port), Answering).serve_forever()
"""


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Config:
    """Its programs are one that says what `said` holds, and a server that is ready."""
    program = tmp_path / "program"
    text = PROGRAM.format(python=sys.executable, said=str(tmp_path / "said"), file=FILE, host=HOST)
    program.write_text(text)
    program.chmod(0o755)

    def child(argv: list[str], env: dict[str, str], *, out: TextIO) -> Child:
        return Child([str(program), *argv[1:]], env, out=out)

    monkeypatch.setattr("launch.bench.engine.stack.Child", child)
    given = load_config(DEMO)
    adapters = {name: one.adapter for name, one in given.tasks.items()}
    return under_test(given, adapters, state_dir=tmp_path / "state", gateway_port=free_port())


def says(folder: Path, *engines: EngineStatus) -> None:
    tasks = {"naming": TaskStatus(versions=[VersionStatus("naming@1")])}
    (folder / "said").write_bytes(msgspec.json.encode(Snapshot(engines=[*engines], tasks=tasks)))


READY = EngineStatus("engine-0", "http://engine", state="ready", pid=7, load_s=1.5)


def ended(config: Config) -> set[str]:
    return {file.stem for file in config.state_dir.glob("*.ended")}


def test_a_stack_is_given_when_it_is_ready_and_ended_with_its_block(config: Config, tmp_path: Path) -> None:
    says(tmp_path, READY)
    with running_stack(config, tmp_path, KEY) as stack:
        assert (stack.engine_url, stack.engine_pid, stack.load_s) == ("http://engine", 7, 1.5)
        assert (stack.base, stack.adapters) == ("base", {"naming": "naming@1"})
        assert (config.state_dir / ENGINE_KEY).read_text() == KEY
        took_s, answer = post(f"{stack.gateway_url}/v1/completions", KEY, {"model": "base"})
        assert (took_s > 0, answer) == (True, f'Bearer {KEY}{{"model": "base"}}'.encode())
        assert ended(config) == set()
    assert ended(config) == {"launch", "gateway"}


def test_it_is_ended_where_its_block_fails_and_an_engine_needs_no_gateway(
    config: Config, tmp_path: Path
) -> None:
    says(tmp_path, READY)
    with pytest.raises(ZeroDivisionError), running_stack(config, tmp_path, KEY, gateway=False) as stack:
        print(1 / len(stack.gateway_url))
    assert ended(config) == {"launch"}


def test_an_engine_that_fails_says_why(config: Config, tmp_path: Path) -> None:
    says(tmp_path, EngineStatus("engine-0", state="failed", reason="no memory"))
    with pytest.raises(EngineFailure, match="no memory"), running_stack(config, tmp_path, KEY):
        pass
    assert "launch" in ended(config)


OTHER = EngineStatus("engine-1", "http://other", state="ready")


def test_of_several_engines_all_are_given(config: Config, tmp_path: Path) -> None:
    says(tmp_path, READY, OTHER)
    with running_stack(config, tmp_path, KEY, gateway=False) as stack:
        assert stack.engine_urls == ("http://engine", "http://other")


def test_of_several_engines_one_that_fails_is_enough(config: Config, tmp_path: Path) -> None:
    says(tmp_path, READY, msgspec.structs.replace(OTHER, state="failed", reason="no card"))
    with pytest.raises(EngineFailure, match="no card"), running_stack(config, tmp_path, KEY):
        pass


def test_a_program_that_ends_says_its_error(config: Config, tmp_path: Path) -> None:
    with (
        pytest.raises(EngineFailure, match=r"the stack under test ended with 1: error: it has no adapter"),
        running_stack(config, tmp_path, KEY, gateway=False),
    ):
        pass


def test_a_folder_that_cannot_be_written_is_an_error_before_any_start(config: Config, tmp_path: Path) -> None:
    (tmp_path / "stack.log").mkdir()
    with pytest.raises(ConfigError, match="cannot be written"), running_stack(config, tmp_path, KEY):
        pass
    assert ended(config) == set()
