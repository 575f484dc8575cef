"""Files and batches as they are kept, and as OpenAI shows them. Pure."""

from __future__ import annotations

import json
import secrets
from dataclasses import dataclass
from typing import Literal

from gateway.errors import InvalidRequest

Status = Literal[
    "validating",
    "failed",
    "in_progress",
    "finalizing",
    "completed",
    "expired",
    "cancelling",
    "cancelled",
]
OPEN: tuple[Status, ...] = ("validating", "in_progress", "finalizing", "cancelling")
"""What is not at its end yet."""
CANCELLABLE: tuple[Status, ...] = ("validating", "in_progress")
WINDOW_S = 24 * 3600
"""`completion_window: 24h`, the only one that OpenAI has."""
LEAST_KEPT_S, MOST_KEPT_S = 3600, 30 * 24 * 3600
"""Of `expires_after` and `output_expires_after`, as OpenAI bounds them."""

MOST_METADATA = 16
MOST_KEY_CHARS = 64
MOST_VALUE_CHARS = 512

Document = dict[str, object]


def new_file_id() -> str:
    return f"file-{secrets.token_hex(12)}"


def new_batch_id() -> str:
    return f"batch_{secrets.token_hex(12)}"


@dataclass(frozen=True, slots=True)
class FileRecord:
    """A file; times are unix seconds. `owner` is the name of the key that made it, "" without keys."""

    id: str
    owner: str
    purpose: str
    filename: str
    size_bytes: int
    created_at: int
    expires_at: int

    def document(self) -> Document:
        """OpenAI's `file` object of this record, as `/v1/files` shows it."""
        return {
            "id": self.id,
            "object": "file",
            "bytes": self.size_bytes,
            "created_at": self.created_at,
            "expires_at": self.expires_at,
            "filename": self.filename,
            "purpose": self.purpose,
            "status": "processed",
            "status_details": None,
        }


@dataclass(frozen=True, slots=True)
class Counts:
    """What is in the two files of a batch so far."""

    completed: int = 0
    failed: int = 0
    input_tokens: int = 0
    output_tokens: int = 0


@dataclass(frozen=True, slots=True)
class BatchRecord:
    """A batch; times are unix seconds, None for what has not happened."""

    id: str
    owner: str
    endpoint: str
    input_file: str
    output_file: str
    """The id that its runner writes results under; shown once it is at its end."""
    error_file: str
    status: Status
    created_at: int
    expires_at: int
    results_kept_s: int
    metadata: str | None = None
    """JSON."""
    errors: str | None = None
    """JSON: what its validation found."""
    has_output: bool = False
    has_errors: bool = False
    total: int = 0
    completed: int = 0
    failed: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    runner: str = ""
    """Who runs it, or did last, as `lease.new_holder` names it."""
    in_progress_at: int | None = None
    finalizing_at: int | None = None
    completed_at: int | None = None
    failed_at: int | None = None
    expired_at: int | None = None
    cancelling_at: int | None = None
    cancelled_at: int | None = None

    @property
    def counts(self) -> Counts:
        return Counts(self.completed, self.failed, self.input_tokens, self.output_tokens)

    def document(self) -> Document:
        """OpenAI's `batch` object of this record, with its counts and its usage."""
        errors = None if self.errors is None else {"object": "list", "data": json.loads(self.errors)}
        return {
            "id": self.id,
            "object": "batch",
            "endpoint": self.endpoint,
            "errors": errors,
            "input_file_id": self.input_file,
            "completion_window": f"{WINDOW_S // 3600}h",
            "status": self.status,
            "output_file_id": self.output_file if self.has_output else None,
            "error_file_id": self.error_file if self.has_errors else None,
            "created_at": self.created_at,
            "in_progress_at": self.in_progress_at,
            "expires_at": self.expires_at,
            "finalizing_at": self.finalizing_at,
            "completed_at": self.completed_at,
            "failed_at": self.failed_at,
            "expired_at": self.expired_at,
            "cancelling_at": self.cancelling_at,
            "cancelled_at": self.cancelled_at,
            "request_counts": {"total": self.total, "completed": self.completed, "failed": self.failed},
            "usage": {
                "input_tokens": self.input_tokens,
                "input_tokens_details": {"cached_tokens": 0},
                "output_tokens": self.output_tokens,
                "output_tokens_details": {"reasoning_tokens": 0},
                "total_tokens": self.input_tokens + self.output_tokens,
            },
            "metadata": None if self.metadata is None else json.loads(self.metadata),
        }


def kept_seconds(anchor: object, seconds: object, param: str) -> int:
    """How long a file is to be kept, of OpenAI's `{"anchor": "created_at", "seconds": …}`.

    Raises InvalidRequest.
    """
    if anchor != "created_at":
        raise InvalidRequest(f"'{param}.anchor' must be 'created_at'.", param=f"{param}.anchor")
    if isinstance(seconds, bool) or not isinstance(seconds, int):
        raise InvalidRequest(f"'{param}.seconds' must be a whole number.", param=f"{param}.seconds")
    if not LEAST_KEPT_S <= seconds <= MOST_KEPT_S:
        raise InvalidRequest(
            f"'{param}.seconds' is {seconds}; it may be from {LEAST_KEPT_S} to {MOST_KEPT_S}.",
            param=f"{param}.seconds",
        )
    return seconds


def checked_metadata(metadata: object) -> str | None:
    """A batch's metadata as JSON. Raises InvalidRequest."""
    if metadata is None:
        return None
    if not isinstance(metadata, dict):
        raise InvalidRequest("'metadata' must be an object of strings.", param="metadata")
    if len(metadata) > MOST_METADATA:
        raise InvalidRequest(f"'metadata' may have {MOST_METADATA} keys at most.", param="metadata")
    for key, value in metadata.items():
        shown = key[:MOST_KEY_CHARS]
        if len(key) > MOST_KEY_CHARS:
            raise InvalidRequest(
                f"'metadata' has a key of more than {MOST_KEY_CHARS} characters: '{shown}…'.",
                param="metadata",
            )
        if not isinstance(value, str) or len(value) > MOST_VALUE_CHARS:
            raise InvalidRequest(
                f"'metadata.{shown}' must be a string of at most {MOST_VALUE_CHARS} characters.",
                param=f"metadata.{shown}",
            )
    return json.dumps(metadata)
