"""The mix for a real engine: the demo's tasks, its base and its pipeline."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from gateway.config.document import load_config
from tests.soak.http_client import Answer
from tests.soak.kinds import Kind, events
from tests.soak.subject import Subject
from tests.support.real.real_stack import ROOT, real_stack

DEMO = ROOT / "configs/demo/config.yaml"
CHAT = "/v1/chat/completions"


def chat(model: str, words: str, **fields: Any) -> Mapping[str, Any]:
    return {"model": model, "messages": [{"role": "user", "content": words}], "max_tokens": 12, **fields}


def is_named(answer: Answer, words: str) -> bool:
    document = json.loads(answer.body)
    return bool(document["model"].startswith("naming@") and document["usage"]["completion_tokens"] <= 12)


def is_stream(answer: Answer, words: str) -> bool:
    found = events(answer)
    return bool(found) and all(event["model"].startswith("concept@") for event in found)


def is_grouped(answer: Answer, words: str) -> bool:
    """Every concept's members are terms of this request."""
    document = json.loads(answer.body)
    concepts = json.loads(document["choices"][0]["message"]["content"])["concepts"]
    return {member for concept in concepts for member in concept["members"]} <= {*words.split()}


def is_text(answer: Answer, words: str) -> bool:
    return bool("@" not in json.loads(answer.body)["model"])


def never(answer: Answer, words: str) -> bool:
    return False


REAL_KINDS = (
    Kind("naming", 4, CHAT, lambda words: chat("naming", words), is_named),
    Kind("concept stream", 3, CHAT, lambda words: chat("concept", words, stream=True), is_stream),
    Kind(
        "pipeline",
        1,
        CHAT,
        lambda words: {"model": "concept-naming", "messages": [{"role": "user", "content": terms(words)}]},
        is_grouped,
        code=b"stage_output_invalid",  # words without sense may make it write until its tokens are spent
    ),
    Kind(
        "base",
        2,
        "/v1/completions",
        lambda words: {"model": "base", "prompt": words, "max_tokens": 8},
        is_text,
    ),
    Kind(
        "client leaves",
        1,
        CHAT,
        lambda words: chat("naming", words, stream=True, max_tokens=200),
        never,
        leave_after=b"data: ",
    ),
    Kind("no such model", 0.5, CHAT, lambda words: chat("nobody", words), never, (404,)),
)


def terms(words: str) -> str:
    return json.dumps({"terms": words.split()})


@contextmanager
def real_gateway(folder: Path, keys: Mapping[str, object]) -> Iterator[Subject]:
    """The demo's stack with these keys."""
    document = load_config(DEMO).model_dump(mode="json", by_alias=True)
    document["keys"] = keys
    config = folder / "config.json"
    config.write_text(json.dumps(document))
    state = folder / "state"
    state.mkdir()
    with real_stack(state, config, Path(sys.executable), 600) as stack:
        port = int(stack.url.rpartition(":")[2])
        yield Subject(port, listener_of(port), state, None)


def listener_of(port: int) -> int:
    """The process that listens there: a child of ours."""
    for child in Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split():
        if b"gateway" in Path(f"/proc/{child}/cmdline").read_bytes().split(b"\0"):
            return int(child)
    raise LookupError(f"no gateway of ours on {port}")
