"""Batches before a fake engine, asked as OpenAI's SDK asks."""

from __future__ import annotations

import asyncio
import errno
import io
import json
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.support.stack import Stack, eventually, stack

CHAT = "/v1/chat/completions"
Document = dict[str, object]


@asynccontextmanager
async def timed_stack(folder: Path, **settings: object) -> AsyncIterator[Stack]:
    """A test that waits on it for ever fails after a minute."""
    async with asyncio.timeout(60), stack(folder, **settings) as made:  # type: ignore[arg-type]
        yield made


def line(number: int, model: str = "naming", text: str = "cat", **more: object) -> Document:
    """One request; `more` goes into its body."""
    body = {"model": model, "messages": [{"role": "user", "content": text}], **more}
    return {"custom_id": f"r{number}", "method": "POST", "url": CHAT, "body": body}


def jsonl(lines: list[Document]) -> bytes:
    return "".join(json.dumps(each) + "\n" for each in lines).encode()


async def upload(made: Stack, content: bytes | list[Document], **headers: str) -> str:
    """The id of a file that is a batch's input."""
    data = content if isinstance(content, bytes) else jsonl(content)
    answer = await made.client.post(
        "/v1/files", data={"purpose": "batch"}, files={"file": ("input.jsonl", data)}, headers=headers
    )
    assert answer.status_code == 200, answer.text
    return str(answer.json()["id"])


async def create(made: Stack, content: bytes | list[Document], endpoint: str = CHAT, **more: object) -> str:
    """The id of a batch of those lines."""
    body = {
        "input_file_id": await upload(made, content),
        "endpoint": endpoint,
        "completion_window": "24h",
        **more,
    }
    answer = await made.client.post("/v1/batches", json=body)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["id"])


def read_in_part(monkeypatch: pytest.MonkeyPatch, name: str, most_bytes: int, broken: list[bool]) -> None:
    """The disk gives no more than so many of that file's bytes, as often as `broken` is not empty yet."""
    whole = Path.open

    class Broken(io.FileIO):
        def read(self, size: int | None = -1, /) -> bytes:
            if self.tell() == most_bytes and broken:
                broken.pop()
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            left = most_bytes - self.tell() if broken else size
            return super().read(left) or b""

    def opening(self: Path, *given: object, **more: object) -> object:
        if self.name == name and given[:1] == ("rb",):
            return Broken(self, "rb")
        return whole(self, *given, **more)  # type: ignore[call-overload]

    monkeypatch.setattr(Path, "open", opening)


async def shown(made: Stack, batch_id: str) -> Document:
    document = (await made.client.get(f"/v1/batches/{batch_id}")).json()
    assert isinstance(document, dict)
    return document


async def until(made: Stack, batch_id: str, *statuses: str) -> Document:
    """The batch once it has one of those; the limit counts looks."""
    seen: list[Document] = []

    async def so() -> bool:
        seen.append(await shown(made, batch_id))
        return seen[-1]["status"] in statuses

    try:
        await eventually(so, 10)
    except TimeoutError:
        raise AssertionError(f"{seen[-1]['status']}, not {' or '.join(statuses)}: {seen[-1]}") from None
    return seen[-1]


async def content(made: Stack, file_id: object) -> list[Document]:
    answer = await made.client.get(f"/v1/files/{file_id}/content")
    assert answer.status_code == 200, answer.text
    return [json.loads(each) for each in answer.text.splitlines()]


async def results(
    made: Stack, batch: Mapping[str, object]
) -> tuple[dict[str, Document], dict[str, Document]]:
    """Output and errors by custom id."""
    found: list[dict[str, Document]] = []
    for name in ("output_file_id", "error_file_id"):
        records = await content(made, batch[name]) if batch[name] else []
        by_id = {str(record["custom_id"]): record for record in records}
        assert len(by_id) == len(records), "a line stands twice"
        found.append(by_id)
    assert not set(found[0]) & set(found[1])
    return found[0], found[1]


def text_of(record: Document) -> object:
    response = record["response"]
    assert isinstance(response, dict)
    return response["body"]["choices"][0]["message"]["content"]


def error_of(record: Document) -> Document:
    response = record["response"]
    assert isinstance(response, dict)
    error = response["body"]["error"]
    assert isinstance(error, dict)
    return error
