"""Batches and `lora-gateway run` on a real vLLM, by OpenAI's own client."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

import httpx
import pytest
from openai import NotFoundError, OpenAI
from openai.types import Batch

from tests.engine.asked import PROMPTS
from tests.engine.conftest import ROOT, RealStack

pytestmark = pytest.mark.engine
CHAT: Final = "/v1/chat/completions"


def line(custom_id: str, model: str, **more: object) -> str:
    body = {"model": model, "messages": [{"role": "user", "content": PROMPTS[model]}], **more}
    return json.dumps({"custom_id": custom_id, "method": "POST", "url": CHAT, "body": body}) + "\n"


def until_ended(client: OpenAI, batch: Batch, limit_s: float = 240) -> Batch:
    deadline = time.monotonic() + limit_s
    while batch.status in ("validating", "in_progress", "finalizing", "cancelling"):
        assert time.monotonic() < deadline, batch
        time.sleep(0.2)
        batch = client.batches.retrieve(batch.id)
    return batch


def start(client: OpenAI, lines: str) -> Batch:
    file = client.files.create(file=("input.jsonl", lines.encode()), purpose="batch")
    return client.batches.create(
        input_file_id=file.id, endpoint=CHAT, completion_window="24h", metadata={"of": "a test"}
    )


def test_batch_of_tasks_and_a_pipeline_by_the_openai_sdk(real: RealStack) -> None:
    with OpenAI(base_url=f"{real.url}/v1", api_key="none", max_retries=0, timeout=60) as client:
        lines = [
            line("c", "concept", max_tokens=64),
            line("p", "concept-naming"),
            line("n", "naming"),
            line("wrong", "naming", max_tokens=0),
        ]
        batch = until_ended(client, start(client, "".join(lines)))
        assert batch.status == "completed", batch
        assert batch.request_counts is not None
        counts = batch.request_counts
        assert (counts.total, counts.completed, counts.failed) == (4, 3, 1)
        assert batch.output_file_id is not None
        assert batch.error_file_id is not None
        output = {
            record["custom_id"]: record["response"]["body"]
            for record in map(json.loads, client.files.content(batch.output_file_id).text.splitlines())
        }
        assert set(output) == {"c", "p", "n"}
        concepts = json.loads(output["p"]["choices"][0]["message"]["content"])["concepts"]
        assert all(concept["name"] for concept in concepts)
        body = json.loads(lines[2])["body"]
        alone = client.chat.completions.create(**body)
        assert output["n"]["choices"][0]["message"]["content"] == alone.choices[0].message.content
        (error,) = map(json.loads, client.files.content(batch.error_file_id).text.splitlines())
        assert (error["custom_id"], error["response"]["status_code"]) == ("wrong", 400)
        assert batch.usage is not None
        assert batch.usage.output_tokens > 0
        assert batch.id in [each.id for each in client.batches.list(limit=1)]
        listed = [each.id for each in client.files.list(purpose="batch_output")]
        assert {batch.output_file_id, batch.error_file_id} <= set(listed)
        assert client.files.delete(batch.output_file_id).deleted
        with pytest.raises(NotFoundError):
            client.files.content(batch.output_file_id)
    real.until_idle()


def test_batch_cancelled_half_way_lets_the_engine_go(real: RealStack) -> None:
    with OpenAI(base_url=f"{real.url}/v1", api_key="none", max_retries=0, timeout=60) as client:
        long = {"max_tokens": 1500, "ignore_eos": True}
        lines = [line("short", "naming"), *(line(f"long-{n}", "base", **long) for n in range(3))]
        batch = start(client, "".join(lines))
        while (batch.request_counts is None or not batch.request_counts.completed) or not real.running():
            time.sleep(0.1)
            batch = client.batches.retrieve(batch.id)
            assert batch.status in ("validating", "in_progress"), batch
        client.batches.cancel(batch.id)
        batch = until_ended(client, batch, 20)
        assert batch.status == "cancelled"
        real.until_idle()
        assert batch.output_file_id is not None
        assert batch.error_file_id is not None
        assert json.loads(client.files.content(batch.output_file_id).text)["custom_id"] == "short"
        errors = map(json.loads, client.files.content(batch.error_file_id).text.splitlines())
        assert {each["error"]["code"] for each in errors} == {"batch_cancelled"}


def test_batch_of_what_is_no_jsonl_fails_with_the_line(real: RealStack) -> None:
    with OpenAI(base_url=f"{real.url}/v1", api_key="none", max_retries=0, timeout=60) as client:
        batch = until_ended(client, start(client, line("a", "naming") + "no json\n"))
        assert batch.status == "failed"
        assert batch.errors is not None
        assert batch.errors.data is not None
        assert [(each.code, each.line) for each in batch.errors.data] == [("invalid_json_line", 2)]


def test_priority_reaches_the_engine_and_a_clients_does_not(real: RealStack) -> None:
    snapshot = json.loads((real.state / "engine.json").read_text())
    assert [engine["priorities"] for engine in snapshot["engines"]] == [True]
    body = {"model": "naming", "messages": [{"role": "user", "content": "x"}], "priority": -1}
    answer = httpx.post(f"{real.url}{CHAT}", json=body, timeout=60)
    assert (answer.status_code, answer.headers["x-gateway-ignored"]) == (200, "priority")


def test_run_names_the_demos_clusters(real: RealStack, tmp_path: Path) -> None:
    source = tmp_path / "clusters.jsonl"
    source.write_text("".join((ROOT / "configs/demo/clusters.jsonl").read_text().splitlines(True)[:2]))
    output = tmp_path / "out.jsonl"
    command = [
        sys.executable,
        "-m",
        "launch.cli.main",
        "run",
        "concept-naming",
        str(source),
        "-o",
        str(output),
    ]
    done = subprocess.run(
        [*command, "--url", real.url, "--json"],
        cwd=ROOT,
        env=os.environ.copy(),
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["answered"] == 2
    given = [json.loads(each) for each in source.read_text().splitlines()]
    for cluster, answer in zip(given, map(json.loads, output.read_text().splitlines()), strict=True):
        assert answer["custom_id"] == cluster["id"]
        terms = {term if isinstance(term, str) else term["term"] for term in cluster["terms"]}
        concepts = answer["output"]["concepts"]
        assert {member for concept in concepts for member in concept["members"]} <= terms
