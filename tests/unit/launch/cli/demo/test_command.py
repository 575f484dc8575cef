"""The demo's closing words, and its end."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import httpx

from gateway.config.document import Config
from launch.cli.demo.command import _state_dir, snippets
from launch.cli.demo.samples import Cluster
from tests.fakes.fake_stack import fake_config
from tests.support.process_ends import ending_with_us
from tests.support.waiting import CLIENT_S, until

SAMPLE = Cluster("a", ["baker's dozen", {"term": "loaf", "gloss": "of bread"}])


def test_snippets_hold_the_address_and_quote_the_shell() -> None:
    text = snippets("http://127.0.0.1:8080", SAMPLE)
    assert "http://127.0.0.1:8080/v1/chat/completions" in text
    assert "baker'\\''s dozen" in text
    assert "of bread" not in text
    assert 'model="naming"' in text
    assert "make serve" in text


def test_a_stack_that_stays_needs_no_other() -> None:
    assert "make serve" not in snippets("http://127.0.0.1:8080", SAMPLE, stays=True)


def test_its_state_is_its_owners_alone(tmp_path: Path) -> None:
    folder = _state_dir(Config.model_validate({"base": {"model": "m"}, "state_dir": str(tmp_path / "state")}))
    assert folder.parent == tmp_path / "state"
    assert [one.stat().st_mode & 0o777 for one in (folder.parent, folder)] == [0o700, 0o700]


def test_ctrl_c_ends_it_while_an_answer_takes_long(tmp_path: Path) -> None:
    document = fake_config(tmp_path, ["--takes-ms", "250000"]).model_dump(mode="json", by_alias=True)
    config, clusters = tmp_path / "config.json", tmp_path / "clusters.jsonl"
    config.write_text(json.dumps(document))
    clusters.write_text(json.dumps({"id": "a", "terms": ["loaf"]}))
    command = [
        sys.executable,
        "-m",
        "launch.cli.main",
        "demo",
        "-c",
        str(config),
        "--clusters",
        str(clusters),
    ]
    with subprocess.Popen(ending_with_us(command), stdout=subprocess.PIPE, text=True) as demo:
        try:
            assert demo.stdout is not None
            url = demo.stdout.readline().split()[-1]
            until(lambda: httpx.get(f"{url}/health").json()["in_flight"], CLIENT_S)
            demo.send_signal(signal.SIGINT)
            assert demo.wait(CLIENT_S) == 130
        finally:
            demo.kill()
