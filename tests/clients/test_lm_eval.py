"""lm-eval's `local-chat-completions` on held-out items of the demo's naming task."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from pathlib import Path

import pytest
from openai import OpenAI

from tests.clients.conftest import CLIENTS
from tests.support.real.real_stack import ROOT

TASK = "lora-gateway-naming"
ITEMS = 5


def test_score_is_the_one_of_the_answers_themselves(url: str, tmp_path: Path) -> None:
    arguments = f"model=naming,base_url={url}/v1/chat/completions,num_concurrent=2"
    program = [sys.executable, "-m", "lm_eval", "run", "--model", "local-chat-completions"]
    options = ["--tasks", TASK, "--include_path", str(CLIENTS / "lm_eval"), "--limit", str(ITEMS)]
    command = [*program, "--model_args", arguments, *options, "--apply_chat_template"]
    done = subprocess.run(
        [*command, "--output_path", str(tmp_path)], cwd=ROOT, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stderr[-3000:]
    (results,) = tmp_path.rglob("results_*.json")
    scored = json.loads(results.read_text())["results"][TASK]["exact_match,none"]
    with (ROOT / "configs/demo/heldout/naming.jsonl").open(encoding="utf-8") as lines:
        items = [json.loads(line) for line in itertools.islice(lines, ITEMS)]
    with OpenAI(base_url=f"{url}/v1", api_key="none", timeout=240) as client:
        right = [answer_to(client, item["prompt"]).lower() == item["answer"].lower() for item in items]
    assert scored == pytest.approx(sum(right) / ITEMS)
    assert any(right)


def answer_to(client: OpenAI, prompt: str) -> str:
    answer = client.chat.completions.create(model="naming", messages=[{"role": "user", "content": prompt}])
    return (answer.choices[0].message.content or "").strip()  # as the task's filter does
