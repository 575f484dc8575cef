"""What must not reach the real engine: a stranger past the gateway, and a pattern that would hold it up."""

from __future__ import annotations

import re
import statistics
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.engine.asked import NAMING, post
from tests.engine.conftest import RealStack

pytestmark = pytest.mark.engine
BOMBS = [f"((a{{0,200}}){{0,200}}){{0,{most}}}" for most in (50, 51, 52)]
"""24 characters; what each token costs to follow grows with the ways in which the text so far can be read."""
LONG = 777
CANARIES = 6


def test_the_engine_lets_nobody_in_without_its_own_key_which_no_command_line_shows(real: RealStack) -> None:
    asked = {"model": "base", "prompt": "x", "max_tokens": 1}
    for headers in ({}, {"authorization": "Bearer wrong"}):
        with httpx.Client(base_url=real.engine_url, headers=headers) as stranger:
            assert stranger.get("/v1/models").status_code == 401
            for path in ("/v1/completions", "/tokenize", "/invocations", "/v1/load_lora_adapter"):
                assert stranger.post(path, json=asked).status_code == 401, path
            assert [stranger.get(path).status_code for path in ("/health", "/metrics")] == [200, 200]
    ours = {"authorization": f"Bearer {real.engine_key}"}
    assert httpx.get(f"{real.engine_url}/v1/models", headers=ours).status_code == 200
    shown = [*_command_lines()]
    assert any(b"vllm.entrypoints" in line for line in shown)
    assert not [line for line in shown if real.engine_key.encode() in line]


@pytest.mark.parametrize(
    ("path", "asked"),
    [
        ("/v1/responses", {"input": [{}] * 200}),
        ("/v1/responses", {"input": [{"role": "user", "content": [{}] * 200}]}),
        ("/v1/chat/completions", {"messages": [{}] * 200}),
        ("/v1/messages", {"max_tokens": 1, "messages": [{"role": "user", "content": [{}] * 200}]}),
    ],
)
def test_a_long_wrong_list_is_refused_by_its_first_fault(real: RealStack, path: str, asked: Any) -> None:
    """All its faults took an engine's memory."""
    ours = {"authorization": f"Bearer {real.engine_key}"}
    answer = httpx.post(f"{real.engine_url}{path}", json={"model": "base", **asked}, headers=ours, timeout=60)
    assert answer.status_code == 400, answer.text
    told = re.search(r"([0-9]+) validation error", answer.text)
    assert told is not None
    assert int(told[1]) < 300


def test_a_pattern_that_would_hold_the_engine_up_is_refused_before_it(real: RealStack) -> None:
    def canary() -> float:
        began = time.monotonic()
        answer = post(
            real,
            "/v1/chat/completions",
            model="naming",
            messages=[{"role": "user", "content": NAMING}],
            max_tokens=4,
        )
        assert answer.status_code == 200, answer.text
        return time.monotonic() - began

    def bomb(pattern: str) -> httpx.Response:
        asked = {"model": "base", "prompt": "a", "max_tokens": LONG, "structured_outputs": {"regex": pattern}}
        return post(real, "/v1/completions", **asked)

    alone = [canary() for _ in range(CANARIES)]
    before = _long_ones(real)
    with ThreadPoolExecutor(len(BOMBS)) as pool:
        bombs = [pool.submit(bomb, pattern) for pattern in BOMBS]
        beside = [canary() for _ in range(CANARIES)]
        answers = [one.result() for one in bombs]
    assert {(one.status_code, one.json()["error"]["code"]) for one in answers} == {
        (400, "grammar_too_costly")
    }
    assert _long_ones(real) == before  # they were never the engine's
    # Held up as it was without the trial, each of these would have waited for seconds.
    assert statistics.median(beside) <= 2 * max(alone) + 0.5, (alone, beside)


def _command_lines() -> Iterator[bytes]:
    """Of all processes, as `ps` shows them."""
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):  # it has ended meanwhile
            yield file.read_bytes()


def _long_ones(real: RealStack) -> float:
    """Requests for about `LONG` tokens that the engine has had, in all; what looks after it asks for few."""
    text = httpx.get(f"{real.engine_url}/metrics").text
    (family,) = (
        one for one in text_string_to_metric_families(text) if one.name == "vllm:request_params_max_tokens"
    )
    whole = sum(sample.value for sample in family.samples if sample.name.endswith("_count"))
    short = sum(sample.value for sample in family.samples if sample.labels.get("le") == "500.0")
    return whole - short
