"""Files and batches in OpenAI's form, and the bounds of what a client may set on them."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from openai.types import Batch, FileObject

from gateway.batches.records import (
    BatchRecord,
    FileRecord,
    checked_metadata,
    kept_seconds,
    new_batch_id,
    new_file_id,
)
from gateway.errors import InvalidRequest

BATCH = BatchRecord(
    "batch_1", "", "/v1/chat/completions", "file-1", "file-2", "file-3", "completed", 1, 2, 3600
)


def test_documents_are_what_openais_sdk_reads() -> None:
    file = FileObject.model_validate(FileRecord("file-1", "", "batch", "a.jsonl", 5, 1, 2).document())
    assert (file.id, file.bytes, file.purpose, file.expires_at) == ("file-1", 5, "batch", 2)
    batch = Batch.model_validate(BATCH.document())
    assert (batch.status, batch.completion_window, batch.errors, batch.metadata) == (
        "completed",
        "24h",
        None,
        None,
    )


def test_files_of_results_are_shown_once_there_is_something_in_them() -> None:
    shown = BATCH.document()
    assert (shown["output_file_id"], shown["error_file_id"]) == (None, None)
    shown = replace(BATCH, has_output=True, completed=2, total=2).document()
    assert (shown["output_file_id"], shown["error_file_id"]) == ("file-2", None)
    assert shown["request_counts"] == {"total": 2, "completed": 2, "failed": 0}


def test_ids_are_never_the_same() -> None:
    assert len({make() for make in (new_file_id, new_batch_id) for _ in range(100)}) == 200


@pytest.mark.parametrize(
    ("anchor", "seconds", "param"),
    [
        ("now", 3600, "e.anchor"),
        ("created_at", "3600", "e.seconds"),
        ("created_at", True, "e.seconds"),
        ("created_at", 3599, "e.seconds"),
        ("created_at", 2592001, "e.seconds"),
    ],
)
def test_time_that_may_not_be_kept_is_refused(anchor: object, seconds: object, param: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        kept_seconds(anchor, seconds, "e")
    assert refused.value.param == param


def test_time_within_the_bounds_is_taken() -> None:
    assert [kept_seconds("created_at", one, "e") for one in (3600, 2592000)] == [3600, 2592000]


@pytest.mark.parametrize(
    "metadata",
    [[], "x", {"a": 1}, {"a": None}, {"k" * 65: "v"}, {"a": "v" * 513}, {str(i): "" for i in range(17)}],
)
def test_metadata_of_another_form_is_refused(metadata: object) -> None:
    with pytest.raises(InvalidRequest, match="'metadata"):
        checked_metadata(metadata)


def test_metadata_at_its_bounds_is_kept() -> None:
    whole = {f"{i:064}": "v" * 512 for i in range(16)}
    assert json.loads(checked_metadata(whole) or "") == whole
    assert checked_metadata(None) is None
