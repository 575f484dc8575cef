"""docs/adding-an-adapter.md, command by command, against the running demo."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from launch.training.data.wordnet import DEFAULT_FOLDER
from tests.engine.conftest import CONFIG, ROOT, RealStack

pytestmark = pytest.mark.engine
DOCUMENT = ROOT / "docs/adding-an-adapter.md"
TASK = "relationship"
BLOCK = re.compile(r"^```(bash|python)\n(.*?)^```$", re.M | re.S)
DATA = re.compile(r"python -m launch\.training\.data\.tasks (\w+) .*> (\S+)")
SHORTER = (
    (re.compile(r"(python -m launch\.training\.data\.tasks \w+)"), r"\1 --count 300"),
    (re.compile(r"--max-minutes \S+"), "--max-minutes 0.1"),
    (re.compile(r"lora-gateway evaluate"), "lora-gateway evaluate --limit 8"),
)
"""The same commands with less work for each."""


class Walk:
    """The document's blocks in order, run in a folder that looks like the repository's."""

    def __init__(self, folder: Path, real: RealStack) -> None:
        self._folder = folder
        self._url = real.url
        self._blocks = iter(BLOCK.findall(DOCUMENT.read_text(encoding="utf-8")))

    def run(self, expected: str) -> str:
        """The next block, which must hold what is expected of it; what it printed."""
        language, text = next(self._blocks)
        assert expected in text
        text = text.replace("http://127.0.0.1:8080", self._url)
        for pattern, shorter in SHORTER:
            text = pattern.sub(shorter, text)
        if not (DEFAULT_FOLDER / "data.noun").is_file():
            text = DATA.sub(r"cp configs/demo/heldout/\1.jsonl \2", text)
        program = [sys.executable, "-c"] if language == "python" else ["bash", "-euo", "pipefail", "-c"]
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        env = {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT)}
        ran = subprocess.run(
            [*program, text], cwd=self._folder, env=env, capture_output=True, text=True, check=False
        )
        assert ran.returncode == 0, f"{text}\n{ran.stdout}\n{ran.stderr}"
        return ran.stdout

    def ended(self) -> bool:
        return next(self._blocks, None) is None


@pytest.fixture
def walk(real: RealStack, tmp_path: Path) -> Iterator[Walk]:
    """`configs/demo` as in the repository; its adapters lie where the running control plane may take them."""
    demo = tmp_path / "configs" / "demo"
    demo.mkdir(parents=True)
    document = json.loads(real.config.read_text())
    document["state_dir"] = str(real.state)
    (demo / "config.yaml").write_text(json.dumps(document))
    shutil.copytree(CONFIG.parent / "heldout", demo / "heldout")
    shutil.copytree(CONFIG.parent / "adapters" / TASK, real.adapters / TASK)
    (demo / "adapters").symlink_to(real.adapters)
    before = models(real)
    yield Walk(tmp_path, real)
    if models(real) != before:  # a walk that broke off
        command = [sys.executable, "-m", "launch.cli.main", "adapters", "remove", TASK]
        subprocess.run([*command, "--config", str(demo / "config.yaml")], cwd=ROOT, check=True)


def models(real: RealStack) -> set[str]:
    return {model["id"] for model in httpx.get(f"{real.url}/v1/models").json()["data"]}


def versions_in(text: str) -> list[str]:
    return list(dict.fromkeys(re.findall(rf"{TASK}@[0-9a-f]{{12}}", text)))


def test_the_walk_of_the_document(walk: Walk, real: RealStack) -> None:
    walk.run("launch.training.data.tasks")
    trained = walk.run("lora-gateway train")
    assert re.search(r"held out, \d+ examples: loss \S+ before, \S+ after", trained)
    assert "next: lora-gateway adapters add relationship configs/demo/adapters/my-relationship" in trained

    mine = versions_in(walk.run("adapters add"))
    assert len(mine) == 1
    assert TASK in models(real)
    answer = walk.run("curl")
    assert re.search(rf"^x-gateway-adapter: {mine[0]}", answer, re.M | re.I), answer
    assert json.loads(answer.splitlines()[-1])["choices"][0]["message"]["content"]
    assert walk.run("from openai import OpenAI").strip()
    table = walk.run("lora-gateway evaluate")
    assert "exact" in table
    assert "commonest" in table

    shown = walk.run("--canary 10%")
    theirs = next(version for version in versions_in(shown) if version != mine[0])
    assert f"10 % go to the canary {theirs}" in shown
    promoted, _, rolled_back = walk.run("adapters promote").partition("rollback")
    assert f"every request goes to {theirs}" in promoted
    assert f"every request goes to {mine[0]}" in rolled_back

    assert TASK in walk.run("tasks diff")
    walk.run("adapters remove")
    assert TASK not in models(real)
    assert walk.ended()
