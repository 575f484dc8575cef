"""Every block of docs/python.md runs as it stands, but for addresses and paths."""

from __future__ import annotations

import asyncio
import re
import sys
from pathlib import Path

import pytest

from gateway.client import get_model_manager
from tests.fakes.fake_engine import Answer
from tests.fakes.fake_stack import fake_config
from tests.support.stack import TASKS, stack

ROOT = Path(__file__).parents[3]
BLOCKS = re.findall(r"```python\n(.*?)```", (ROOT / "docs/python.md").read_text(encoding="utf-8"), re.S)
STARTING = [block for block in BLOCKS if "base_model_path" in block]
ATTACHING = [block for block in BLOCKS if "base_model_path" not in block]
GROUPS = '{"concepts":[{"members":["apple","banana"],"definition":"eaten"}]}'


def run_block(block: str) -> None:
    code = compile(block, "docs/python.md", "exec", dont_inherit=True)
    exec(code, {"__name__": "docs"})


@pytest.mark.anyio
async def test_blocks_that_attach_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async with stack(tmp_path) as running:
        running.engine.answers[TASKS["concept"]] = Answer([GROUPS])
        running.engine.answers[TASKS["naming"]] = Answer(['"fru', 'it"'])
        url = f"http://127.0.0.1:{running.port}"
        try:
            for block in ATTACHING:
                await asyncio.to_thread(run_block, block.replace("http://127.0.0.1:8080", url))
        finally:
            get_model_manager().close()
    printed = capsys.readouterr().out
    for expected in (
        "\"fruit\" naming ['concept', 'naming']",
        "ready 3 ['concept', 'naming'] None",
        "['apple', 'banana']",
        "fruit ['apple', 'banana']",
        "Adapter 'relationship' not loaded: check that its path was configured (RELATIONSHIP_ADAPTER_PATH);",
    ):
        assert expected in printed
    assert len(ATTACHING) == 5


def test_block_that_starts_a_stack_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (block,) = STARTING
    config = fake_config(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LORA_GATEWAY_DEVICE", "cpu")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "python"))  # where the fake vLLM is
    for found, put in (
        ("Qwen/Qwen2.5-14B-Instruct", config.base.model),
        ("/models/concept", str(tmp_path / "naming")),
        ("/models/naming", str(tmp_path / "naming")),
    ):
        assert found in block
        block = block.replace(found, put)
    before = sys.modules.get("vllm")
    run_block(block)
    printed = capsys.readouterr()
    assert re.fullmatch(r"naming@\w{12}\nhttp://127\.0\.0\.1:\d+\n", printed.out)
    assert "lora-gateway: engine starting" in printed.err
    assert (tmp_path / ".state/python/config.json").is_file()
    assert sys.modules.get("vllm") is before  # another test of this process may have imported it
