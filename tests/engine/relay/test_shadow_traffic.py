"""A candidate on the real engine gets copies of a task's requests, answers nobody, and is compared."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator

import httpx
import pytest

from gateway.config.document import load_config
from launch.base.locate import resolve_base
from launch.bench.engine.dummy_adapters import SMALL, TELLING, write_dummy_adapter
from tests.engine.conftest import CONFIG, ROOT, RealStack
from tests.support.waiting import until

REQUESTS = 6


def adapters(real: RealStack, *arguments: str) -> str:
    config = real.state / "shadow-config.json"
    config.write_text(json.dumps(json.loads(real.config.read_text()) | {"state_dir": str(real.state)}))
    command = [sys.executable, "-m", "launch.cli.main", "adapters", *arguments, "--config", str(config)]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def loaded(real: RealStack, adapter_id: str) -> bool:
    return adapter_id in (real.state / "engine.json").read_text()


@pytest.fixture
def candidate(real: RealStack) -> Iterator[str]:
    """Random weights as a shadow of `naming`, for every request."""
    source = real.adapters / "shadow-candidate"
    write_dummy_adapter(source, resolve_base(load_config(CONFIG).base), SMALL, 7, TELLING)
    said = json.loads(adapters(real, "add", "naming", str(source), "--shadow", "100%", "--json"))
    yield said["id"]
    adapters(real, "rollback", "naming")
    until(lambda: not loaded(real, said["id"]))


def copies(real: RealStack, adapter_id: str) -> dict[str, float]:
    """Outcome → copies, by /metrics."""
    text = httpx.get(f"{real.url}/metrics").text
    found = re.findall(r"^lora_gateway_shadow_total\{([^}]*)\} (\S+)", text, re.M)
    return {
        label["outcome"]: float(value)
        for labels, value in found
        if (label := dict(re.findall(r'(\w+)="([^"]*)"', labels)))["candidate"] == adapter_id
    }


def test_a_shadow_is_compared_and_answers_nobody(real: RealStack, candidate: str) -> None:
    for number in range(REQUESTS):
        streamed = number % 2 == 1
        asked = {
            "model": "naming",
            "stream": streamed,
            "max_tokens": 8,
            "messages": [{"role": "user", "content": f"Definition: a round fruit\nMembers: kind {number}"}],
        }
        answer = httpx.post(f"{real.url}/v1/chat/completions", json=asked, timeout=60)
        assert answer.status_code == 200, answer.text
        assert answer.headers["x-gateway-adapter"].startswith("naming@")
        assert answer.headers["x-gateway-adapter"] != candidate
        assert candidate not in answer.text
        until(lambda: sum(copies(real, candidate).values()) > number)  # noqa: B023  called within this turn

    assert sum(copies(real, candidate).values()) == REQUESTS
    assert copies(real, candidate).get("different", 0) > 0
    report = json.loads(adapters(real, "show", "naming", "--json"))["shadow_report"]
    assert report["candidate"] == candidate
    assert report["same"] + report["different"] == REQUESTS
    assert report["failed"] == 0
    assert report["greedy"] == REQUESTS
    assert f"shadow {candidate}: {REQUESTS} copies answered, 0 failed" in adapters(real, "show", "naming")
