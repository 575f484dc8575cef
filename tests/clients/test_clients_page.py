"""Every example of docs/clients.md runs."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.clients.conftest import CLIENTS
from tests.support.real.real_stack import ROOT

PAGE = (ROOT / "docs/clients.md").read_text(encoding="utf-8")
SECTION = re.compile(r"^## (.+)\n((?:(?!^## ).*\n)*)", re.M)
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.M | re.S)
LIMIT_S = 300
EXAMPLES = [
    pytest.param(language, text, id=f"{title}-{index}")
    for title, section in SECTION.findall(PAGE)
    for index, (language, text) in enumerate(BLOCK.findall(section))
]


@pytest.mark.parametrize(("language", "text"), EXAMPLES)
def test_example_runs(url: str, tmp_path: Path, language: str, text: str) -> None:
    # The proxy's port first: the gateway's own may have 4000 in it.
    text = text.replace("4000", free_port()).replace("http://127.0.0.1:8080", url)
    file = tmp_path / {"python": "example.py", "js": "example.mjs", "sh": "example.sh"}[language]
    file.write_text(text.replace("litellm.log", str(tmp_path / "litellm.log")), encoding="utf-8")
    (tmp_path / "node_modules").symlink_to(CLIENTS / "node/node_modules")
    program = {"python": [sys.executable], "js": ["node"], "sh": ["bash", "-eu"]}[language]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    out, errors = tmp_path / "out", tmp_path / "errors"
    with out.open("wb") as stdout, errors.open("wb") as stderr:
        child = subprocess.Popen(
            [*program, str(file)],
            cwd=ROOT,
            env={**os.environ, "PATH": path, "PYTHONPATH": str(ROOT)},
            stdout=stdout,
            stderr=stderr,
            start_new_session=True,
        )
        try:
            code = child.wait(LIMIT_S)
        finally:
            stop_group(child.pid)
    assert code == 0, errors.read_text()[-3000:]
    answer = out.read_text()
    assert answer.strip()
    assert '"error"' not in answer, answer


def test_page_has_an_example_of_each_client() -> None:
    for word in (
        "openai",
        "anthropic",
        "langchain_openai",
        "llama_index",
        "litellm",
        "lm-eval",
        "gateway.client",
    ):
        assert any(word in text for _, text in BLOCK.findall(PAGE)), word


def free_port() -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return str(free.getsockname()[1])


def stop_group(group: int) -> None:
    """What an example left running, such as a proxy, ends with it."""
    try:
        os.killpg(group, signal.SIGTERM)
    except ProcessLookupError:
        return
